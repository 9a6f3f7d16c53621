#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    dtap_client::main()
}
