//! File systems of their own, for what a test must not do to the machine's: fill them, freeze them, break them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::process::{Pid, Signal, kill_process};

/// The longest that a disk stays frozen, whatever becomes of the test and of its process.
const THAW: Duration = Duration::from_secs(5);

/// A mounted file system; unmounted, and its image removed, when dropped.
pub struct Disk {
    mount: PathBuf,
    /// Of the image and of what it is mounted on; removed last.
    dir: tempfile::TempDir,
}

impl Disk {
    /// An ext4 of so many MiB in an image file, all of it for whoever writes.
    pub fn ext4(mebibytes: u64) -> Self {
        let (dir, mount) = places();
        let image = dir.path().join("image");
        let file = fs::File::create(&image).expect("an image file");
        file.set_len(mebibytes << 20).expect("its length");
        tool("mkfs.ext4", "e2fsprogs", |mkfs| {
            mkfs.args(["-q", "-m", "0"]).arg(&image)
        });
        let disk = Self { mount, dir };
        disk.mount();
        disk
    }

    /// Mounts the ext4 that is in the image.
    pub fn mount(&self) {
        tool("mount", "mount", |it| {
            // An error makes it read-only, which is how a test makes it so under open files.
            it.args(["-t", "ext4", "-o", "loop,errors=remount-ro"])
                .args([&self.image(), &self.mount])
        });
    }

    /// What an ext4 lies in.
    pub fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    /// A tmpfs of so many MiB.
    pub fn tmpfs(mebibytes: u64) -> Self {
        let (dir, mount) = places();
        tool("mount", "mount", |it| {
            it.args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"])
                .arg(&mount)
        });
        Self { mount, dir }
    }

    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Free bytes.
    pub fn free(&self) -> u64 {
        let stat = statvfs(&self.mount).expect("statvfs");
        stat.f_bavail * stat.f_frsize
    }

    /// Takes all space but so many bytes, with a file of the disk's own.
    pub fn fill_but(&self, bytes: u64) -> Filler {
        let path = self.mount.join("filler");
        let file = fs::File::create(&path).expect("a file");
        let (mut length, mut step) = (0, 1 << 30);
        while step >= 4096 {
            let fits = self.free() >= bytes + step;
            // What it takes to write down where the file lies is taken as well, so that the last steps may not fit.
            if fits && fallocate(&file, FallocateFlags::empty(), length, step).is_ok() {
                length += step;
            } else {
                step /= 2;
            }
        }
        Filler(path)
    }

    /// Lets every write wait until the answer is dropped, or [`THAW`] is over.
    pub fn freeze(&self) -> Frozen<'_> {
        // Another process thaws it in any case: this one may be killed.
        let thaw = Command::new("sh")
            .args(["-c", "sleep \"$0\"; exec fsfreeze -u \"$1\""])
            .arg(THAW.as_secs().to_string())
            .arg(&self.mount)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh runs");
        let frozen = Frozen {
            disk: self,
            thaw,
            since: Instant::now(),
        };
        tool("fsfreeze", "util-linux", |it| it.arg("-f").arg(&self.mount));
        frozen
    }

    /// Reports an error in the file system, after which the kernel takes no more writes to it; files stay open.
    pub fn break_it(&self) {
        let device = fs::read_to_string("/proc/self/mounts").expect("the mounts");
        let device = device
            .lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(_, rest)| rest.split(' ').next() == self.mount.to_str())
            .and_then(|(device, _)| device.strip_prefix("/dev/"))
            .expect("a loop device")
            .to_owned();
        fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "test")
            .expect("ext4 takes an error on request");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A process that was just killed may hold it a moment longer.
        let until = Instant::now() + Duration::from_secs(10);
        while !quietly("umount", &[&self.mount]) {
            if Instant::now() > until {
                quietly("umount", &[Path::new("-l"), &self.mount]);
                return;
            }
            sleep(Duration::from_millis(20));
        }
    }
}

/// The space that [`Disk::fill_but`] took, given back when dropped.
pub struct Filler(PathBuf);

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A disk that takes no writes; thawed when dropped.
pub struct Frozen<'a> {
    disk: &'a Disk,
    thaw: Child,
    since: Instant,
}

impl Frozen<'_> {
    /// Whether nobody can have thawed it yet.
    pub fn still(&self) -> bool {
        self.since.elapsed() < THAW
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        quietly("fsfreeze", &[Path::new("-u"), self.disk.path()]);
        let _ = self.thaw.kill();
        let _ = self.thaw.wait();
    }
}

/// A directory seen read-only through its own path: what opens a file in it from now on cannot write. Undone when dropped.
pub struct ReadOnly(PathBuf);

impl ReadOnly {
    pub fn make(dir: &Path) -> Self {
        tool("mount", "mount", |it| it.arg("--bind").args([dir, dir]));
        let made = Self(dir.to_owned());
        tool("mount", "mount", |it| {
            it.args(["-o", "remount,bind,ro"]).arg(dir)
        });
        made
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        quietly("umount", &[Path::new("-l"), &self.0]);
    }
}

/// Writes of a process to a file, which fail as on a disk that is broken. They succeed again when dropped.
pub struct Broken {
    strace: Child,
    /// It would end without anybody to tell whom it follows.
    _said: BufReader<ChildStderr>,
}

impl Broken {
    /// Every write of `process` to `file`.
    pub fn writes(process: u32, file: &Path) -> Self {
        Self::some(process, file, "")
    }

    /// The first write of each thread.
    pub fn first_writes(process: u32, file: &Path) -> Self {
        Self::some(process, file, ":when=1")
    }

    fn some(process: u32, file: &Path, when: &str) -> Self {
        let mut strace = Command::new("strace")
            .args(["-f", "-o", "/dev/null", "-e", "trace=pwrite64", "-e"])
            .arg(format!("inject=pwrite64:error=EIO{when}"))
            .arg("-P")
            .arg(file)
            .args(["-p", &process.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("strace: {error}; apt-get install -y strace"));
        let said = strace.stderr.take().expect("stderr");
        let mut said = BufReader::new(said);
        let mut line = String::new();
        while !line.contains("attached") {
            line.clear();
            let read = said.read_line(&mut line).expect("it says something");
            assert!(read > 0, "strace ended");
        }
        Self {
            strace,
            _said: said,
        }
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        // Not by SIGKILL: it lets go of what it holds.
        let _ = kill_process(Pid::from_child(&self.strace), Signal::TERM);
        let _ = self.strace.wait();
    }
}

fn places() -> (tempfile::TempDir, PathBuf) {
    assert!(
        rustix::process::geteuid().is_root(),
        "tests of disks mount file systems and need root: run them as root, or with `sudo -E`"
    );
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mount = dir.path().join("mount");
    fs::create_dir(&mount).expect("a directory");
    (dir, mount)
}

/// Runs a command that must succeed; says how to install one that is missing.
pub fn tool(name: &str, package: &str, with: impl FnOnce(&mut Command) -> &mut Command) {
    let mut command = Command::new(name);
    let output = match with(command.stdin(Stdio::null())).output() {
        Ok(output) => output,
        Err(error) => panic!("{name}: {error}; apt-get install -y {package}"),
    };
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn quietly(name: &str, arguments: &[&Path]) -> bool {
    let done = Command::new(name)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    done.is_ok_and(|status| status.success())
}
