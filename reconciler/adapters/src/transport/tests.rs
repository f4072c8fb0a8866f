//! Tests of the local transport on real commands.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use model::agent::{ErrorRule, ErrorRuleClass};
use model::error::ErrorClass;

use super::*;

fn local() -> Local {
    let environment = [("PATH", "/usr/bin:/bin"), ("MAINSTAY_SECRET_X", "hidden")];
    Local::new(None, environment.map(|(k, v)| (k.into(), v.into()))).unwrap()
}

fn command(argv: &[&str]) -> Invocation {
    Invocation {
        argv: argv.iter().map(|&a| a.to_owned()).collect(),
        env: BTreeMap::new(),
        input: Vec::new(),
        timeout: Duration::from_secs(20),
        secrets: Vec::new(),
        rules: Arc::from([]),
    }
}

fn shell(script: &str) -> Invocation {
    command(&["sh", "-c", script])
}

fn run(invocation: &Invocation) -> Result<String, Failed> {
    local().run(invocation, &Cancel::default()).map(|out| String::from_utf8(out).unwrap())
}

fn read_all(source: &mut dyn StreamSource) -> io::Result<Vec<u8>> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 5000]);
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(all),
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

#[test]
fn arguments_are_no_shell_and_the_environment_is_bare() {
    let odd = "a b; $HOME `x` 'y' \n -- *";
    assert_eq!(run(&command(&["printf", "%s", odd])).unwrap(), odd);
    let mut env = command(&["env"]);
    env.env.insert("GIVEN".to_owned(), b"1".to_vec());
    let seen = run(&env).unwrap();
    assert!(seen.contains("GIVEN=1") && seen.contains("LC_ALL=C.UTF-8"), "{seen}");
    assert!(!seen.contains("hidden"), "{seen}");
}

#[test]
fn large_input_and_output_go_through_together() {
    let mut cat = command(&["cat"]);
    cat.input = vec![b'x'; 3 << 20];
    assert_eq!(run(&cat).unwrap().len(), 3 << 20);
}

#[test]
fn errors_are_read_by_rules_and_secrets_are_taken_out() {
    let mut bad = shell("echo 'FATAL: password hunter2 is wrong' >&2; exit 3");
    bad.secrets = vec![SecretValue::new(b"hunter2".to_vec()), SecretValue::new(Vec::new())];
    bad.rules = Arc::from([ErrorRule {
        contains: "is wrong".to_owned(),
        class: ErrorRuleClass::Terminal,
        reason: "WrongPassword".to_owned(),
        hint: "mend it".to_owned(),
    }]);
    let failed = run(&bad).unwrap_err();
    assert_eq!((failed.error.class, failed.error.reason), (ErrorClass::Terminal, "WrongPassword"));
    assert_eq!(failed.error.message, "`sh` ended with status 3: FATAL: password *** is wrong");
    assert_eq!(failed.error.hint.as_deref(), Some("mend it"));
    assert!(!failed.absent);
    bad.rules = Arc::from([ErrorRule { class: ErrorRuleClass::Absent, ..bad.rules[0].clone() }]);
    assert!(run(&bad).unwrap_err().absent);
}

#[test]
fn a_missing_program_and_a_signal_are_named() {
    assert_eq!(run(&command(&["no-such-program-x"])).unwrap_err().error.reason, "ProgramNotFound");
    let killed = run(&shell("kill -9 $$")).unwrap_err().error;
    assert!(killed.message.contains("signal 9"), "{killed}");
}

#[test]
fn a_timeout_ends_the_whole_group() {
    let mut slow = shell("sleep 600 & echo $!; wait");
    slow.timeout = Duration::from_millis(300);
    let begun = Instant::now();
    assert_eq!(run(&slow).unwrap_err().error.reason, "TimedOut");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn cancelling_ends_a_stream() {
    let cancel = Cancel::default();
    let mut source = local().source(&shell("echo x; sleep 600"), &cancel).unwrap();
    let mut buffer = [0; 10];
    assert_eq!(source.read(&mut buffer).unwrap(), 2);
    cancel.cancel();
    assert!(source.read(&mut buffer).is_err());
    assert_eq!(source.finish().unwrap_err().class, ErrorClass::Cancelled);
}

#[test]
fn a_stream_that_fails_at_its_end_is_no_success() {
    let mut source = local().source(&shell("echo data; exit 1"), &Cancel::default()).unwrap();
    assert_eq!(read_all(source.as_mut()).unwrap(), b"data\n");
    assert_eq!(source.finish().unwrap_err().reason, "CommandFailed");
    let mut source = local().source(&shell("echo data"), &Cancel::default()).unwrap();
    read_all(source.as_mut()).unwrap();
    source.finish().unwrap();
}

#[test]
fn what_a_command_leaves_behind_does_not_hold_us() {
    let begun = Instant::now();
    run(&shell("sleep 600 & true")).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_sink_takes_all_bytes_and_tells_why_it_did_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let cat = command(&["sh", "-c", "cat > \"$1\"", "sh", path.to_str().unwrap()]);
    let mut sink = local().sink(&cat, &Cancel::default()).unwrap();
    let data = vec![7; 1 << 20];
    sink.write_all(&data).unwrap();
    sink.finish().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), data);

    let full = shell("head -c 10 >/dev/null; echo 'No space left' >&2; exit 1");
    let mut sink = local().sink(&full, &Cancel::default()).unwrap();
    let told = sink.write_all(&vec![7; 1 << 20]).unwrap_err();
    assert!(told.to_string().contains("No space left"), "{told}");
    let error = sink.finish().unwrap_err();
    assert!(error.message.contains("No space left"), "{error}");

    let early = shell("head -c 10 >/dev/null");
    let mut sink = local().sink(&early, &Cancel::default()).unwrap();
    assert!(sink.write_all(&vec![7; 1 << 20]).is_err());
    assert_eq!(sink.finish().unwrap_err().reason, "InputNotTaken");
}

#[test]
fn a_session_answers_once_and_ends_with_its_input() {
    let mut held = shell("read a; echo \"{\\\"a\\\": \\\"$a\\\"}\"; cat >/dev/null; exit ${b:-0}");
    held.input = b"hello".to_vec();
    let (line, session) = local().session(&held, &Cancel::default()).unwrap();
    assert_eq!(line, b"{\"a\": \"hello\"}");
    session.close().unwrap();
    held.env.insert("b".to_owned(), b"4".to_vec());
    let (_, session) = local().session(&held, &Cancel::default()).unwrap();
    assert_eq!(session.close().unwrap_err().reason, "CommandFailed");
    let Err(failed) = local().session(&shell("echo why >&2; exit 1"), &Cancel::default()) else {
        panic!("it answered");
    };
    assert!(failed.error.message.contains("why"), "{}", failed.error);
    let Err(failed) = local().session(&shell("true"), &Cancel::default()) else {
        panic!("it answered");
    };
    assert_eq!(failed.error.reason, "NoAnswer");
}
