//! `mainstay tool …` as a program of its own, so that the tests of this crate can run templates
//! without the command line.

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(2).collect();
    let (mut stdin, mut stdout, mut stderr) = (io::stdin(), io::stdout(), io::stderr());
    mainstay_adapters::tools::run(&args, &mut stdin, &mut stdout, &mut stderr).into()
}
