//! Wall time, processor time and peak memory of a process, from the kernel's own accounts.

use std::process::{Command, Stdio};
use std::time::Instant;

/// What one process took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub wall_s: f64,
    /// User and system time of all its threads.
    pub cpu_s: f64,
    pub peak_mb: f64,
}

/// Runs a command to its end; its failure ends the bench, as a figure of failed work is none.
pub fn measure(command: &mut Command) -> Cost {
    let started = Instant::now();
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    finish(command, child, started, 0)
}

/// The same for a command that is to end with another status.
pub fn measure_failing(command: &mut Command, status: i32) -> Cost {
    let started = Instant::now();
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    finish(command, child, started, status)
}

fn finish(
    command: &Command,
    mut child: std::process::Child,
    started: Instant,
    expected: i32,
) -> Cost {
    // Read to its end first: a full pipe would hold the child.
    let mut said = Vec::new();
    let mut pipe = child.stderr.take().unwrap();
    std::io::Read::read_to_end(&mut pipe, &mut said).unwrap();
    let (status, usage) = wait(child.id());
    let wall_s = started.elapsed().as_secs_f64();
    let ended = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
    assert!(
        ended == Some(expected),
        "{command:?} ended with {status}: {}",
        String::from_utf8_lossy(&said)
    );
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    Cost {
        wall_s,
        cpu_s: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        peak_mb: usage.ru_maxrss as f64 / 1024.0,
    }
}

/// Waits for a child and returns its status and what it used. The standard library's wait tells no
/// usage.
#[allow(unsafe_code)]
fn wait(child: u32) -> (i32, libc::rusage) {
    // SAFETY: `rusage` is a struct of integers, for which all zeros is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let mut status = 0;
    loop {
        // SAFETY: both pointers are to live, exclusively borrowed locals of the types that wait4(2)
        // writes, and the kernel keeps neither. The child is ours and not waited for elsewhere:
        // `Child` was neither waited on before nor is it after, so the id cannot be another's.
        let ended = unsafe { libc::wait4(child as i32, &raw mut status, 0, &raw mut usage) };
        if ended == child as i32 {
            return (status, usage);
        }
        let error = std::io::Error::last_os_error();
        assert!(error.kind() == std::io::ErrorKind::Interrupted, "wait4: {error}");
    }
}

/// Processor time of the calling thread in seconds.
#[allow(unsafe_code)]
pub fn thread_cpu_s() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live, exclusively borrowed local of the type that
    // clock_gettime(2) writes, and the kernel does not keep it.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert!(status == 0, "clock_gettime: {}", std::io::Error::last_os_error());
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
