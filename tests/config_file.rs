//! `--config` and `--print-config`: which value wins, what is said of a wrong one, and what SIGHUP takes over.

use std::path::Path;
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::Process;

struct Place(tempfile::TempDir);

impl Place {
    fn new(text: &str) -> Self {
        let place = Self(tempfile::tempdir().expect("a directory"));
        place.write(text);
        place
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path().join("highwater.toml"), text).expect("it is written");
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, args: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_highwater"));
        command.current_dir(self.path()).env_clear();
        command.envs(environment.iter().copied()).args(args);
        command.output().expect("it runs")
    }

    /// What `--print-config` says.
    fn printed(&self, args: &[&str], environment: &[(&str, &str)]) -> String {
        let args = [&["--print-config"], args].concat();
        let output = self.run(&args, environment);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
        String::from_utf8(output.stdout).expect("text")
    }

    /// What is said of the file, which cannot be used.
    fn refused(&self, text: &str) -> String {
        self.write(text);
        let output = self.run(&["--config", "highwater.toml"], &[]);
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(
            (output.status.code(), said.trim().lines().count()),
            (Some(2), 1),
            "{said}"
        );
        said
    }
}

const FILE: &str = r#"
max-size = "2GiB"
port = 9_000
behind-proxy = true
enable-h2c = false
expire-after = "48h"
assemble = "off"
unix-sock = "a \"quoted\" name.sock"
admin-token = "a-secret-of-the-file"
"#;

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let place = Place::new(FILE);
    let environment = [
        ("HIGHWATER_CONFIG", "highwater.toml"),
        ("HIGHWATER_PORT", "9001"),
        ("HIGHWATER_EXPIRE_AFTER", "72h"),
    ];
    let printed = place.printed(&["-expire-after", "96h"], &environment);
    for line in [
        "expire-after = \"96h\" # command line",
        "port = 9001 # environment",
        "max-size = \"2GiB\" # file",
        "behind-proxy = true # file",
        "enable-h2c = false # file",
        "assemble = \"off\" # file",
        "unix-sock = \"a \\\"quoted\\\" name.sock\" # file",
        "host = \"127.0.0.1\" # default",
        "file-perms = \"0664\" # default",
        "# admin-token is set, and a secret # file",
        "# tls-key is not set",
        "# Listening",
    ] {
        assert!(printed.lines().any(|l| l == line), "{line} in\n{printed}");
    }
    assert!(!printed.contains("a-secret"), "{printed}");
    assert!(!place.path().join("data").exists(), "nothing was touched");
}

#[test]
fn what_is_printed_is_a_file_that_says_the_same() {
    let place = Place::new(FILE);
    let first = place.printed(&["--config=highwater.toml"], &[]);
    place.write(&first);
    let second = place.printed(&["--config=highwater.toml"], &[]);
    let values = |text: &str| -> Vec<String> {
        let bare = |line: &str| line.split(" # ").next().unwrap_or_default().to_owned();
        text.lines()
            .map(bare)
            .filter(|l| !l.contains("admin-token"))
            .collect()
    };
    assert_eq!(values(&first), values(&second));
    assert!(second.contains("host = \"127.0.0.1\" # file"), "{second}");
    // Without a file, nothing is from one.
    assert!(!place.printed(&[], &[]).contains("# file"));
    assert!(!place.printed(&["-config="], &[]).contains("# file"));
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let place = Place::new("");
    for (text, line, why) in [
        ("port = 1\nmax-sise = 5\n", 2, "max-sise"),
        ("port = 1\n\nmax-size = \"1.5G\"\n", 3, "1.5G"),
        ("max_size = 5", 1, "max_size"),
        ("[listening]\nport = 1", 1, "listening"),
        ("port = 1\nport = 2", 2, "duplicate"),
        ("port = ", 1, ""),
        ("port = 70000", 1, "70000"),
        ("port = 0x50", 1, "port: a string"),
        ("port = 8080.0", 1, "port: a string"),
        (
            "cors-allow-headers = [\"X-One\"]",
            1,
            "cors-allow-headers: a string",
        ),
        ("behind-proxy = \"maybe\"", 1, "maybe"),
        ("config = \"other.toml\"", 1, "config"),
        ("print-config = true", 1, "print-config"),
        ("s3-bucket = \"b\"", 1, "s3-bucket"),
        // What it cannot have beside the others.
        ("port = 1\nquota = \"5GiB\"", 2, "--quota: without --auth"),
        ("max-size = 5\nport = 1\nmin-size = 6", 3, "--min-size"),
        ("max-byte-rate = 1", 1, "at least 1024"),
    ] {
        let said = place.refused(text);
        let place = format!("highwater.toml, line {line}: ");
        assert!(
            said.contains(&place) && said.contains(why),
            "{text:?}: {said}"
        );
    }
    let said = place.refused("admin-token = \"a-secret-of-the-file\nport = 1");
    assert!(
        said.contains("line 1") && !said.contains("a-secret"),
        "{said}"
    );
    let said = place.refused("dir-perms = \"0577\"");
    assert!(said.contains("line 1: --dir-perms"), "{said}");
    // Where the value is from elsewhere, so is what is wrong.
    place.write("min-size = 5");
    let args = ["--config=highwater.toml", "--max-size=5", "--min-size=6"];
    let output = place.run(&args, &[]);
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(
        said.contains("--min-size: ") && !said.contains("line"),
        "{said}"
    );
    // And what is found as the server starts.
    place.write("port = 0\nauth-audience = \"uploads\"");
    let output = place.run(&["--config=highwater.toml"], &[]);
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(
        said.contains("highwater.toml, line 2: --auth-audience"),
        "{said}"
    );
    let missing = place.run(&["--config", "missing.toml"], &[]);
    let said = String::from_utf8(missing.stderr).expect("text");
    assert!(
        missing.status.code() == Some(2) && said.contains("missing.toml: No such file"),
        "{said}"
    );
}

#[test]
fn sighup_takes_over_the_logs_level_and_tells_what_it_cannot() {
    let place = Place::new("log-level = \"info\"\nmax-size = \"1GiB\"");
    let file = place.path().join("highwater.toml").display().to_string();
    let mut server = Process::start(&place.path().join("data"), &["--config", &file]);
    let hang_up = |server: &Process| {
        let pid = Pid::from_raw(server.pid().cast_signed()).expect("its id");
        kill_process(pid, Signal::HUP).expect("the process is there");
    };
    hang_up(&server);
    server.wait_for_line("no option has changed");
    place.write("log-level = \"warn\"\nmax-size = \"2GiB\"\nhost = \"localhost\"");
    hang_up(&server);
    let told = server.wait_for_line("need a restart").to_owned();
    assert!(told.contains("options=\"--host --max-size\""), "{told}");
    place.write("max-size = ");
    hang_up(&server);
    let told = server.wait_for_line("cannot be read anew").to_owned();
    assert!(told.contains("highwater.toml, line 1"), "{told}");
    // At the level of warnings there is no word of the signal.
    let lines = server.log().iter().filter(|line| line.contains("SIGHUP"));
    assert_eq!(lines.count(), 2, "{:#?}", server.lines);
    assert!(server.terminate().0);
}
