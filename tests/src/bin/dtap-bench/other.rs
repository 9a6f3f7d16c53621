use std::process::ExitCode;

pub(super) fn main() -> ExitCode {
    eprintln!("dtap-bench: a lab needs the network namespaces of Linux");
    ExitCode::FAILURE
}
