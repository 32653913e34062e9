//! A disk that loses power: what the file system had not committed is gone.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::Process;
use super::disk::{Disk, tool};

/// What shuts the file system down.
const CUTTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/cut_power.py");

/// A power cut of a disk, prepared so that it takes no time.
pub struct Cut {
    python: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Cut {
    pub fn prepare(disk: &Disk) -> Self {
        let mut python = Command::new("python3")
            .arg(CUTTER)
            .arg(disk.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("python3: {error}; apt-get install -y python3"));
        let mut said = BufReader::new(python.stdout.take().expect("its output")).lines();
        let ready = said.next().and_then(Result::ok);
        assert_eq!(
            ready.as_deref(),
            Some("ready"),
            "{CUTTER} {}",
            disk.path().display()
        );
        Self { python, said }
    }

    /// The power is off when this returns, and the server is killed next.
    pub fn now(mut self, server: Process) {
        let mut line = self.python.stdin.take().expect("its input");
        line.write_all(b"cut\n").expect("it listens");
        let cut = self.said.next().and_then(Result::ok);
        server.kill();
        assert_eq!(
            cut.as_deref(),
            Some("cut"),
            "ext4 was not shut down: that needs root and a kernel with EXT4_IOC_SHUTDOWN"
        );
        assert!(self.python.wait().expect("its end").success());
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        let _ = self.python.kill();
        let _ = self.python.wait();
    }
}

/// Starts the binary over `data` as it would start after the machine did: the kernel's boot id is another one, for it alone.
pub fn start_on_boot(disk: &Disk, data: &Path, boot: &str, arguments: &[&str]) -> Process {
    let id = disk.image().with_file_name(format!("boot-{boot}"));
    fs::write(&id, boot).expect("a file");
    // In mounts of its own, which must not hold any other test's disk.
    let script = r#"
        awk -v own="$1" '$1 ~ "^/dev/loop" && $2 != own { print $2 }' /proc/self/mounts | xargs -r umount -l
        mount --bind "$2" /proc/sys/kernel/random/boot_id || exit
        shift 2
        exec "$@"
    "#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]);
    command.args([disk.path(), &id]);
    command.arg(env!("CARGO_BIN_EXE_highwater"));
    command.args(["--port", "0", "--upload-dir"]).arg(data);
    command.args(arguments);
    Process::spawn(command).expect("the server listens; its mounts need root")
}

impl Disk {
    /// The power comes back: the file system is mounted anew, which replays its log, and must be sound.
    pub fn power_on(&self) {
        self.unmount();
        self.mount();
        self.unmount();
        tool("e2fsck", "e2fsprogs", |fsck| {
            fsck.arg("-fn").arg(self.image())
        });
        self.mount();
    }

    /// Until nothing holds the file system any more: else the next mount would be of the one that is there still. Processes
    /// with mounts of their own may hold it for long; what it left on the disk is copied then.
    fn unmount(&self) {
        tool("umount", "mount", |it| it.arg(self.path()));
        let until = Instant::now() + Duration::from_secs(1);
        while let Some(device) = loop_device(&self.image()) {
            if Instant::now() > until {
                fs::File::open(device)
                    .and_then(|device| device.sync_all())
                    .expect("what was written reaches the image");
                let copy = self.image().with_extension("copy");
                tool("cp", "coreutils", |it| it.args([&self.image(), &copy]));
                fs::rename(copy, self.image()).expect("renamed");
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The device that shows this image.
fn loop_device(image: &Path) -> Option<String> {
    let listed = Command::new("losetup").arg("-j").arg(image).output();
    let listed =
        listed.unwrap_or_else(|error| panic!("losetup: {error}; apt-get install -y mount"));
    let line = String::from_utf8_lossy(&listed.stdout).into_owned();
    Some(line.split_once(':')?.0.to_owned())
}
