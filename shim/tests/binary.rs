//! The shim itself, before a real program as the original.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dtap_shim::{MARKER, ORIGINAL, RECORD};
use tempfile::TempDir;

const NAME: &str = "com.docker.hyperkit";
const NIC: &str = "nic tap1 02:00:00:00:00:01\n";
const VPNKIT: [&str; 3] = ["-A", "-s", "2:0,virtio-vpnkit,path=x"];
const TAP: &str = "30:0,virtio-tap,tap1,mac=02:00:00:00:00:01";

/// Prints its name and each argument on lines of their own.
const PRINT: &str = "#!/bin/sh\nprintf '%s\\n' \"$@\"\n";

/// A directory with the shim in HyperKit's place and a program beside it as the original.
struct Place {
    directory: TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// What one test starts while another writes a program would keep that program open, and busy.
static ALONE: Mutex<()> = Mutex::new(());

impl Place {
    fn new(original: &str) -> Self {
        let place = Self {
            _alone: ALONE.lock().unwrap_or_else(PoisonError::into_inner),
            directory: tempfile::tempdir().expect("make a directory"),
        };
        fs::copy(env!("CARGO_BIN_EXE_dtap-shim"), place.path("")).expect("copy the shim");
        fs::write(place.path(ORIGINAL), original).expect("write the original");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(place.path(ORIGINAL), mode).expect("make it executable");
        fs::write(place.path(RECORD), NIC).expect("write the record");
        place
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.directory.path().join(format!("{NAME}{ending}"))
    }

    fn command(&self) -> Command {
        Command::new(self.path(""))
    }
}

fn run<A: AsRef<OsStr>>(program: &Path, arguments: &[A]) -> Output {
    let output = Command::new(program).args(arguments).output();
    output.expect("start the shim")
}

fn lines(output: &Output) -> Vec<OsString> {
    assert!(output.stderr.is_empty(), "{output:?}");
    let lines = output.stdout.strip_suffix(b"\n").unwrap_or_default();
    let lines = lines.split(|&it| it == b'\n');
    lines.map(|it| OsStr::from_bytes(it).to_owned()).collect()
}

#[test]
fn the_original_gets_one_nic_more() {
    let place = Place::new(PRINT);
    let output = run(&place.path(""), &VPNKIT);
    assert_eq!(lines(&output), [&VPNKIT[..], &["-s", TAP]].concat());
}

#[test]
fn a_symlink_to_the_place_finds_what_lies_beside_it() {
    let place = Place::new(PRINT);
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("hyperkit");
    symlink(place.path(""), &link).unwrap();
    assert_eq!(lines(&run(&link, &VPNKIT)).len(), VPNKIT.len() + 2);
}

#[test]
fn without_a_record_that_is_understood_nothing_is_added() {
    let place = Place::new(PRINT);
    let unchanged = || assert_eq!(lines(&run(&place.path(""), &VPNKIT)), VPNKIT);
    for record in [&b"nic tap1\n"[..], b"", b"\xff\xfe", &[b'\n'; 70_000]] {
        fs::write(place.path(RECORD), record).unwrap();
        unchanged();
    }
    fs::remove_file(place.path(RECORD)).unwrap();
    unchanged();
    fs::create_dir(place.path(RECORD)).unwrap();
    unchanged();
    fs::remove_dir(place.path(RECORD)).unwrap();
    nix::unistd::mkfifo(&place.path(RECORD), nix::sys::stat::Mode::S_IRUSR).unwrap();
    unchanged();
}

#[test]
fn garbage_is_handed_on_byte_by_byte() {
    let place = Place::new(PRINT);
    let garbage = [
        &b"-s"[..],
        b"2:0,\xff\xfe",
        b"",
        b"-",
        b"\x80",
        b"--",
        b"-s",
    ];
    let garbage: Vec<_> = garbage.map(OsStr::from_bytes).to_vec();
    assert_eq!(lines(&run(&place.path(""), &garbage)), garbage);
}

#[test]
fn arguments_that_are_not_text_do_not_prevent_the_nic() {
    let place = Place::new(PRINT);
    let path = OsStr::from_bytes(b"-fkexec,/V\xe9");
    let output = run(&place.path(""), &[OsStr::new("-s1,virtio-net"), path]);
    assert_eq!(lines(&output).last().map(AsRef::as_ref), Some(path));
    assert_eq!(lines(&output).len(), 4);
}

#[test]
fn the_exit_code_and_death_by_a_signal_are_the_original_s() {
    let status = |script: &str| run(&Place::new(script).path(""), &VPNKIT).status;
    assert_eq!(status("#!/bin/sh\nexit 47\n").code(), Some(47));
    assert_eq!(status("#!/bin/sh\nkill -TERM $$\n").signal(), Some(15));
}

#[test]
fn the_process_its_name_environment_and_directory_are_the_original_s() {
    let place = Place::new("");
    fs::copy("/bin/sh", place.path(ORIGINAL)).unwrap();
    let script = "echo $$; echo $0; echo $MARK; pwd; read line; echo $line";
    let mut child = place
        .command()
        .arg0("sh")
        .args(["-c", script])
        .env("MARK", "kept")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id().to_string();
    child.stdin.take().unwrap().write_all(b"input\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(lines(&output), [&pid, "sh", "kept", "/", "input"]);
}

#[test]
fn an_inherited_descriptor_reaches_the_original() {
    let place = Place::new("#!/bin/sh\ncat <&9\n");
    let script = "exec \"$0\" 9<\"$1\"";
    let file = place.directory.path().join("file");
    fs::write(&file, "through\n").unwrap();
    let output = Command::new("/bin/sh")
        .args([
            OsStr::new("-c"),
            OsStr::new(script),
            place.path("").as_os_str(),
            file.as_os_str(),
        ])
        .output()
        .unwrap();
    assert_eq!(lines(&output), ["through"]);
}

#[test]
fn a_missing_original_is_one_line_and_127() {
    let place = Place::new(PRINT);
    fs::remove_file(place.path(ORIGINAL)).unwrap();
    let output = run(&place.path(""), &VPNKIT);
    assert_eq!(output.status.code(), Some(127));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(
        error.contains(place.path(ORIGINAL).to_str().unwrap()),
        "{error}"
    );
}

/// docker-tuntap-osx moves what it finds to `*.original` and puts a script in its place.
#[test]
fn a_shim_that_another_tool_has_renamed_boots_docker_unchanged() {
    let place = Place::new(PRINT);
    fs::rename(place.path(""), place.path(".original")).unwrap();
    assert_eq!(lines(&run(&place.path(".original"), &VPNKIT)), VPNKIT);
}

#[test]
fn a_shim_as_its_own_original_ends() {
    let place = Place::new("");
    fs::copy(place.path(""), place.path(ORIGINAL)).unwrap();
    assert_eq!(run(&place.path(""), &VPNKIT).status.code(), Some(127));
}

#[test]
fn an_installer_knows_a_shim_by_its_marker() {
    let binary = fs::read(env!("CARGO_BIN_EXE_dtap-shim")).unwrap();
    let marker = MARKER.as_bytes();
    assert!(binary.windows(marker.len()).any(|it| it == marker));
}
