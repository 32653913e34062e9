use super::args::GROUPS;
use super::tusd::{Fate, foreign};
use super::*;
use crate::hooks::Event;
use crate::security::tls::TlsMode;

fn parse(line: &str) -> Result<CommandLine, clap::Error> {
    CommandLine::parse(std::iter::once("highwater").chain(line.split_whitespace()))
}

fn config(line: &str) -> Config {
    parse(line).unwrap_or_else(|e| panic!("{line}: {e}")).config
}

/// The one line that a refused command line gets (clap's usage after it is its own).
fn refusal(line: &str) -> String {
    let text = parse(line).expect_err(line).to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn an_empty_command_line_is_the_readmes() {
    let got = config("");
    assert_eq!(got, Config::default());
    assert_eq!(
        (got.host.as_str(), got.port, got.base_path.as_str()),
        ("127.0.0.1", 8080, "/files/")
    );
    assert_eq!(
        (got.upload_dir, got.max_size),
        (PathBuf::from("./data"), 1 << 30)
    );
    assert_eq!((got.dir_perms, got.file_perms), (0o775, 0o664));
    assert!(
        got.enable_h2c
            && got.assemble
            && got.keep_partials
            && !got.behind_proxy
            && !got.disable_cors
    );
    assert_eq!(
        (got.expire_after.as_secs(), got.expire_completed.as_secs()),
        (86_400, 0)
    );
    assert_eq!(
        (
            got.network_timeout.as_secs(),
            got.shutdown_timeout.as_secs()
        ),
        (60, 10)
    );
    assert_eq!(
        (got.durability, got.cors_max_age),
        (Durability::Complete, 86_400)
    );
}

/// Command lines of tusd's documentation (`docs/_getting-started`, `docs/_storage-backends/local-disk.md`) and its flags' help.
#[test]
fn command_lines_of_tusds_documentation_work() {
    let got = config("-host 127.0.0.1 -port 1337");
    assert_eq!((got.host.as_str(), got.port), ("127.0.0.1", 1337));
    assert_eq!(
        config("-unix-sock /var/my-tusd.sock").unix_sock,
        Some("/var/my-tusd.sock".into())
    );
    assert_eq!(
        config("-base-path /api/uploads").base_path.as_str(),
        "/api/uploads/"
    );
    assert_eq!(config("-base-path /").base_path.as_str(), "/");
    assert!(config("-behind-proxy").behind_proxy);
    assert_eq!(config("-max-size 1000000000").max_size, 1_000_000_000);
    assert!(config("-disable-download").disable_download);
    assert!(config("-disable-termination").disable_termination);
    assert!(config("-disable-cors").disable_cors);
    assert_eq!(
        config("-upload-dir=./data").upload_dir,
        PathBuf::from("./data")
    );
    assert_eq!(
        config("-upload-dir=./uploads").upload_dir,
        PathBuf::from("./uploads")
    );
    let got = config(
        "-cors-allow-origin ^https://.*\\.example\\.com$ -cors-allow-credentials -cors-allow-headers X-One,X-Two \
         -cors-max-age 600 -network-timeout 1m30s -shutdown-timeout=100ms -dir-perms 0700 -file-perms=600 -enable-h2c",
    );
    assert_eq!(got.cors_allow_origin, "^https://.*\\.example\\.com$");
    assert_eq!(
        (got.cors_allow_headers.as_str(), got.cors_max_age),
        ("X-One,X-Two", 600)
    );
    assert_eq!(
        (
            got.network_timeout.as_millis(),
            got.shutdown_timeout.as_millis()
        ),
        (90_000, 100)
    );
    assert_eq!((got.dir_perms, got.file_perms), (0o700, 0o600));
    assert!(got.cors_allow_credentials && got.enable_h2c);
    let got = config(
        "-upload-dir=./data -host=127.0.0.1 -port=8443 -tls-certificate=localhost.pem -tls-key=localhost.key",
    );
    assert_eq!(got.tls.tls_certificate, Some("localhost.pem".into()));
    assert_eq!(got.tls.tls_mode, TlsMode::Tls12);
    let got = config("-tls-mode tls12-strong -tls-key= -tls-certificate=");
    assert_eq!(
        (got.tls.tls_key, got.tls.tls_mode),
        (None, TlsMode::Tls12Strong)
    );
}

#[test]
fn hooks_are_called_where_a_url_says_and_for_what_stands_before_it() {
    let hooks = |line: &str| config(line).hooks.open().map_err(|error| error.to_string());
    let got =
        hooks("-hooks-http http://localhost:8081/write -hooks-http-retry 5 -hooks-http-backoff 2s");
    let got = got.expect("as tusd's users write it");
    assert!(got.wants(Event::PreCreate) && !got.wants(Event::PreFinish));
    let two = hooks("--hooks-http=http://a/ --hooks-enabled-events=post-create,pre-finish");
    assert!(two.expect("one").wants(Event::PreFinish));
    let mut line = vec!["highwater".to_owned()];
    line.push("--hooks-http=http://a/?x=y  pre-access,post-fail=https://b/".to_owned());
    let line = CommandLine::parse(line).expect("two");
    let got = line.config.hooks.open().expect("two");
    let name = |at| got.sink(at).map(|sink| sink.name.as_str());
    assert_eq!((name(0), name(1)), (Some("http://a/"), Some("https://b/")));
    assert_eq!(got.sinks_of(Event::PreAccess).count(), 1);
    for bad in [
        "--hooks-http=localhost:8081",
        "--hooks-http=ftp://a/",
        "--hooks-http=http://",
        "--hooks-http=pre-nothing=http://a/",
        "--hooks-dir=/no/such/directory",
        "--hooks-http=http://a/ --progress-hooks-interval=0",
        "--hooks-http=http://a/ --hooks-http-timeout=0",
    ] {
        let error = hooks(bad).expect_err(bad);
        assert!(error.starts_with("--"), "{error}");
    }
}

#[test]
fn a_scan_by_hooks_needs_a_hook_and_a_hook_that_scans_a_scan() {
    let fits = |line: &str| {
        let config = config(line);
        let hooks = config.hooks.open().expect(line);
        config.content.fits(&hooks).map_err(|e| e.to_string())
    };
    let hook = "--hooks-http=http://a/";
    for good in [
        String::new(),
        hook.into(),
        format!("{hook} --scan=hook --hooks-enabled-events=scan,pre-finish"),
        "--hooks-http=scan=http://a/ --scan=hook".into(),
    ] {
        assert_eq!(fits(&good), Ok(()), "{good}");
    }
    for bad in [
        "--scan=hook".into(),
        format!("{hook} --scan=hook"),
        format!("{hook} --hooks-enabled-events=scan"),
        format!("{hook} --hooks-enabled-events=scan --scan=clamd:tcp://a:1"),
    ] {
        assert!(fits(&bad).is_err(), "{bad}");
    }
    assert_eq!(
        config("--scan=clamd:tcp://a:1")
            .content
            .scanning()
            .map(|scan| scan.max_bytes),
        Some(25 << 20)
    );
    let bounded = config("--scan=hook --scan-max-bytes=1k").content.scanning();
    assert_eq!(bounded.map(|scan| scan.max_bytes), Some(1024));
}

#[test]
fn tusds_command_lines_that_cannot_work_end_in_a_line() {
    let lines = [
        ("-hooks-grpc localhost:8081", "--hooks-grpc", "hooks"),
        ("-hooks-plugin ./hook_handler", "--hooks-plugin", "hooks"),
        (
            "-s3-bucket=my-test-bucket.com -s3-transfer-acceleration",
            "--s3-bucket",
            "object storage",
        ),
        (
            "-gcs-bucket=my-test-bucket.com -gcs-object-prefix=uploads/",
            "--gcs-bucket",
            "object storage",
        ),
        (
            "-azure-storage=my-test-container",
            "--azure-storage",
            "object storage",
        ),
        (
            "-verbose -s3-bucket mybucket -s3-endpoint http://minio:9000",
            "--s3-bucket",
            "object storage",
        ),
        ("-metrics-path /m", "--metrics-path", "metrics"),
        (
            "-enable-experimental-protocol",
            "--enable-experimental-protocol",
            "draft",
        ),
        (
            "--s3-log-api-calls=true",
            "--s3-log-api-calls",
            "object storage",
        ),
        ("-gcs-bucket f", "--gcs-bucket", "object storage"),
    ];
    for (line, option, what) in lines {
        let said = refusal(line);
        assert!(
            said.contains(option) && said.contains(what),
            "{line}: {said}"
        );
    }
}

#[test]
fn what_means_nothing_here_is_one_warning() {
    let got = parse(
        "-verbose -show-greeting=false -filelock-holder-poll-interval 5s -acquire-lock-timeout=20s -port 1 \
         -expose-metrics=false -s3-bucket= -pprof-path -x -expose-pprof -host h",
    )
    .unwrap();
    assert_eq!((got.config.port, got.config.host.as_str()), (1, "h"));
    assert_eq!(got.warnings.len(), 1, "{:?}", got.warnings);
    for name in [
        "--verbose",
        "--show-greeting",
        "--filelock-holder-poll-interval",
        "--acquire-lock-timeout",
        "--pprof-path",
    ] {
        assert!(got.warnings[0].contains(name), "{:?}", got.warnings);
    }
    assert!(parse("-port 1").unwrap().warnings.is_empty());
}

#[test]
fn switches_are_gos() {
    assert!(!config("-enable-h2c=false").enable_h2c);
    assert!(!config("--enable-h2c=F --keep-partials=0").keep_partials);
    assert!(config("-disable-cors=T").disable_cors);
    assert!(
        !config("-disable-cors -disable-cors=false").disable_cors,
        "the last one wins"
    );
    assert!(
        refusal("-disable-cors false").contains("'false'"),
        "a switch takes its value after = only"
    );
    assert!(refusal("-disable-cors=maybe").contains("maybe"));
    assert!(!config("--assemble off").assemble);
    assert!(config("-assemble=on").assemble);
}

#[test]
fn values_are_taken_as_go_takes_them() {
    assert_eq!(
        config("-cors-allow-origin -x").cors_allow_origin,
        "-x",
        "the next argument, whatever it begins with"
    );
    assert_eq!(config("-cors-allow-origin a=b").cors_allow_origin, "a=b");
    assert_eq!(config("-cors-allow-origin=a=b").cors_allow_origin, "a=b");
    assert_eq!(config("-port 1 -port 2").port, 2);
    for line in [
        "-port",
        "-port 65536",
        "-port=",
        "-network-timeout 15",
        "-max-size 1.5G",
        "-nonsense",
        "-p 80",
        "80",
        "-- -port",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
    assert!(refusal("-nonsense").contains("--nonsense"));
}

#[test]
fn the_durability_and_log_have_names() {
    assert_eq!(
        config("--durability process").durability,
        Durability::Process
    );
    assert_eq!(config("-durability=every").durability, Durability::Every);
    assert_eq!(config("-log-format json").log_format, LogFormat::Json);
    assert!(parse("--durability none").is_err());
}

#[test]
fn what_the_server_cannot_run_with_is_refused_at_start() {
    let lines = [
        "-cors-allow-origin (",
        "-cors-allow-origin a)|(b",
        "--log-level info,=x=y",
        "-dir-perms 0577",
        "-file-perms 0400",
        "--max-connections 0",
        "--header-timeout 0",
        "--public-url example.org",
        "--public-url ftp://example.org",
        "--public-url https://example.org/?q",
        "-base-path /a?b",
        "-base-path /a//b",
        "-base-path /a/../b",
        "-base-path /healthz",
        "-base-path /admin/files",
        "-base-path /metrics",
        "-base-path /readyz/",
        "-admin-token too-short",
        "-disk-stop 101%",
        "-disk-warn -1%",
        "-disk-warn 5%%",
        "-base-path http://localhost/",
    ];
    for line in lines {
        let option = line
            .split_whitespace()
            .next()
            .unwrap()
            .trim_start_matches('-');
        let said = refusal(line);
        assert!(said.contains(&format!("--{option}")), "{line}: {said}");
    }
    assert!(refusal("-tls-certificate c.pem").contains("--tls-key: needed"));
    assert!(refusal("-tls-key k.pem").contains("--tls-certificate: needed"));
    assert_eq!(config("--unix-sock= -base-path=").base_path.as_str(), "/");
    assert_eq!(config("--unix-sock=").unix_sock, None);
    assert_eq!(
        config("--public-url https://example.org/up")
            .public_url
            .map(|url| url.to_string())
            .as_deref(),
        Some("https://example.org/up")
    );
    assert!(
        config("--log-level info,highwater::tus=debug")
            .log_level
            .contains("debug")
    );
}

#[test]
fn help_shows_every_option_in_one_group_with_its_variable() {
    let help = parse("-help")
        .expect_err("help is clap's error")
        .to_string();
    let mut ids: Vec<&str> = GROUPS.iter().flat_map(|(_, ids)| *ids).copied().collect();
    for id in &ids {
        assert!(
            help.contains(&format!("--{}", id.replace('_', "-"))),
            "{id}"
        );
        assert!(
            ["=", "]"]
                .iter()
                .any(|end| help.contains(&format!("[env: HIGHWATER_{}{end}", id.to_uppercase()))),
            "{id}"
        );
    }
    for (heading, _) in GROUPS {
        assert!(help.contains(&format!("{heading}:")), "{heading}");
    }
    let options = <Config as clap::CommandFactory>::command();
    let mut all: Vec<String> = options
        .get_arguments()
        .map(|arg| arg.get_id().to_string())
        .collect();
    all.sort_unstable();
    ids.sort_unstable();
    assert_eq!(all, ids, "each option is in exactly one group");
    assert!(
        all.iter()
            .all(|id| foreign(&id.replace('_', "-")).is_none()),
        "an option of ours is not tusd's alone"
    );
}

/// Every flag of tusd 2.10.0, by the groups of its help: each is ours, passed over, or refused with its reason.
#[test]
fn every_flag_of_tusd_is_answered() {
    let ours = [
        "host",
        "port",
        "unix-sock",
        "base-path",
        "behind-proxy",
        "enable-h2c",
        "disable-download",
        "disable-termination",
        "disable-concatenation",
        "max-size",
        "disable-cors",
        "cors-allow-origin",
        "cors-allow-credentials",
        "cors-allow-methods",
        "cors-allow-headers",
        "cors-max-age",
        "cors-expose-headers",
        "upload-dir",
        "dir-perms",
        "file-perms",
        "log-format",
        "network-timeout",
        "shutdown-timeout",
        "tls-certificate",
        "tls-key",
        "tls-mode",
        "hooks-enabled-events",
        "hooks-dir",
        "hooks-http",
        "hooks-http-forward-headers",
        "hooks-http-retry",
        "hooks-http-backoff",
        "hooks-http-timeout",
        "progress-hooks-interval",
    ];
    let options = <Config as clap::CommandFactory>::command();
    for name in ours {
        assert!(
            options
                .get_arguments()
                .any(|arg| arg.get_long() == Some(name)),
            "{name}"
        );
    }
    let refused = "enable-experimental-protocol s3-bucket s3-object-prefix s3-endpoint \
        s3-part-size s3-min-part-size s3-max-buffered-parts s3-disable-content-hashes s3-disable-ssl \
        s3-concurrent-part-uploads s3-transfer-acceleration s3-log-api-calls gcs-bucket gcs-object-prefix gcs-endpoint \
        azure-storage azure-container-access-type azure-blob-access-tier azure-object-prefix azure-endpoint \
        hooks-http-skip-verify hooks-grpc hooks-grpc-retry \
        hooks-grpc-backoff hooks-grpc-secure hooks-grpc-server-tls-certificate hooks-grpc-client-tls-certificate \
        hooks-grpc-client-tls-key hooks-grpc-forward-headers hooks-plugin metrics-path";
    for name in refused.split_whitespace() {
        assert!(
            matches!(foreign(name).map(|f| f.fate), Some(Fate::Missing(_))),
            "{name}"
        );
    }
    let ignored = "filelock-holder-poll-interval filelock-acquirer-poll-interval expose-metrics expose-pprof pprof-path \
        pprof-block-profile-rate pprof-mutex-profile-rate show-greeting verbose show-startup-logs acquire-lock-timeout \
        request-completion-timeout hooks-http-size-limit";
    for name in ignored.split_whitespace() {
        assert_eq!(foreign(name).map(|f| f.fate), Some(Fate::Ignored), "{name}");
    }
    let version = parse("-version").expect_err("the version is clap's error");
    assert_eq!(version.kind(), clap::error::ErrorKind::DisplayVersion);
}
