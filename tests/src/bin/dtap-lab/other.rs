use std::process::ExitCode;

pub(super) fn main() -> ExitCode {
    eprintln!("dtap-lab: a lab needs the network namespaces of Linux");
    ExitCode::FAILURE
}
