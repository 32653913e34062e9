use super::super::testing::{any_value, head};
use super::*;
use proptest::prelude::*;

type Headers<'a> = &'a [(&'a str, &'a str)];

fn id() -> UploadId {
    "x".parse().unwrap()
}

fn of(headers: Headers, via: &Via) -> Origin {
    Origin::of(&head(headers), &Uri::from_static("/files/"), via)
}

#[test]
fn locations_name_what_the_client_used() {
    let plain = Via::default();
    let tls = Via {
        tls: true,
        ..Via::default()
    };
    let proxy = Via {
        behind_proxy: true,
        ..Via::default()
    };
    let https = ("x-forwarded-proto", "https");
    let table: [(Headers, &Via, &str); 16] = [
        (
            &[("host", "a.test:8080")],
            &plain,
            "http://a.test:8080/files/x",
        ),
        (
            &[("host", "[::1]:8080")],
            &plain,
            "http://[::1]:8080/files/x",
        ),
        (&[("host", "a.test")], &tls, "https://a.test/files/x"),
        (
            &[("host", "a.test"), ("x-forwarded-host", "b.test"), https],
            &plain,
            "http://a.test/files/x",
        ),
        (
            &[("host", "a.test"), ("x-forwarded-host", "b.test"), https],
            &proxy,
            "https://b.test/files/x",
        ),
        (
            &[("host", "a.test"), https],
            &proxy,
            "https://a.test/files/x",
        ),
        (
            &[("host", "a.test"), ("x-forwarded-proto", "ftp")],
            &proxy,
            "http://a.test/files/x",
        ),
        (
            &[("host", "a.test"), ("x-forwarded-host", "b c")],
            &proxy,
            "http://a.test/files/x",
        ),
        (
            &[("host", "a.test"), ("x-forwarded-prefix", "/up/")],
            &proxy,
            "http://a.test/up/files/x",
        ),
        (
            &[
                ("host", "a.test"),
                ("forwarded", "proto=https;host=b.test:1"),
            ],
            &proxy,
            "https://b.test:1/files/x",
        ),
        (&[], &plain, "/files/x"),
        (&[("x-forwarded-prefix", "/up")], &proxy, "/up/files/x"),
        (&[("host", "")], &plain, "/files/x"),
        (&[("host", "a.test\"><script>")], &plain, "/files/x"),
        (&[("host", "user:secret@a.test")], &plain, "/files/x"),
        (
            &[("host", "a.test"), ("host", "b.test")],
            &plain,
            "/files/x",
        ),
    ];
    for (headers, via, wanted) in table {
        assert_eq!(
            of(headers, via).location("/files/", &id()),
            wanted,
            "{headers:?}"
        );
    }
    assert_eq!(
        of(&[("host", "\u{e9}.test")], &plain).location("/", &id()),
        "/x"
    );
}

#[test]
fn the_uri_comes_before_the_host() {
    let uri = Uri::from_static("http://a.test:1/files/");
    let origin = Origin::of(&head(&[("host", "b.test")]), &uri, &Via::default());
    assert_eq!(origin.location("/files/", &id()), "http://a.test:1/files/x");
}

#[test]
fn the_public_url_comes_before_all() {
    for (text, wanted) in [
        ("https://up.test", "https://up.test/files/x"),
        ("https://up.test/", "https://up.test/files/x"),
        (
            "HTTP://up.test:8443/a/b/",
            "http://up.test:8443/a/b/files/x",
        ),
    ] {
        let public: PublicUrl = text.parse().unwrap();
        let via = Via {
            behind_proxy: true,
            public_url: Some(public),
            tls: false,
        };
        let origin = of(&[("host", "a.test"), ("x-forwarded-prefix", "/no")], &via);
        assert_eq!(origin.location("/files/", &id()), wanted);
    }
}

fn parts_table(origin: &Origin, ours: &[(&str, &str)], others: &[&str]) {
    for (reference, id) in ours {
        let found = resolve(reference, origin, "/files/");
        assert_eq!(
            found.as_ref().map(UploadId::as_str),
            Ok(*id),
            "{reference:?}"
        );
    }
    for reference in others {
        assert_eq!(
            resolve(reference, origin, "/files/"),
            Err(NotOurs),
            "{reference:?}"
        );
    }
}

#[test]
fn parts_by_every_kind_of_url() {
    let origin = of(&[("host", "a.test:8080")], &Via::default());
    let ours = [
        ("http://a.test:8080/files/x", "x"),
        ("HTTPS://A.TEST:8080/files/x", "x"),
        ("//a.test:8080/files/x", "x"),
        ("/files/x", "x"),
        ("/files/x/", "x"),
        ("/files/x?token=1#top", "x"),
        ("/files/%78", "x"),
        ("/files/a/b", "a/b"),
        ("/files/./y/../x", "x"),
        ("/a/../files/x", "x"),
        ("x", "x"),
        ("./x", "x"),
        ("../files/x", "x"),
        ("../../../files/x", "x"),
        ("files/x", "files/x"),
        ("..x", "..x"),
    ];
    let others = [
        "",
        "/",
        ".",
        "..",
        "/files",
        "/files/",
        "./",
        "?x",
        "#x",
        "http://a.test:8080",
        "http://a.test:8080/",
        "http://a.test/files/x",
        "http://b.test:8080/files/x",
        "http://user@a.test:8080/files/x",
        "http:///files/x",
        "///files/x",
        "ftp://a.test:8080/files/x",
        "http:/files/x",
        "http:x",
        "mailto:x",
        "/other/x",
        "/files/../x",
        "/files//x",
        "//files/x",
        "/files/%2e%2e/x",
        "/files/a%252fb",
        "/files/%ff",
        "/files/%",
        "/files/x y",
        "/files/\u{e9}",
        "/Files/x",
    ];
    parts_table(&origin, &ours, &others);
    assert!(resolve(&"x".repeat(100_000), &origin, "/files/").is_err());
    assert_eq!(resolve("/x", &origin, "/"), Ok(id()));
    assert_eq!(resolve("x", &origin, "/"), Ok(id()));
}

#[test]
fn parts_by_what_stands_in_front() {
    let public: PublicUrl = "https://up.test/pub".parse().unwrap();
    let via = Via {
        behind_proxy: true,
        public_url: Some(public),
        tls: false,
    };
    let origin = of(
        &[
            ("host", "in.test:1"),
            ("x-forwarded-host", "a.test"),
            ("x-forwarded-prefix", "/up"),
        ],
        &via,
    );
    let ours = [
        ("https://up.test/pub/files/x", "x"),
        ("http://up.test:80/files/x", "x"),
        ("https://a.test/up/files/x", "x"),
        ("https://a.test:443/files/x", "x"),
        ("/pub/files/x", "x"),
        ("/up/files/x", "x"),
        ("/files/x", "x"),
        ("x", "x"),
    ];
    parts_table(
        &origin,
        &ours,
        &[
            "http://in.test:1/files/x",
            "/no/files/x",
            "https://up.test/pub",
        ],
    );
    let nameless = of(&[], &Via::default());
    parts_table(
        &nameless,
        &[("/files/x", "x")],
        &["http://a.test/files/x", "///files/x"],
    );
}

proptest! {
    #[test]
    fn every_location_resolves_to_its_upload(host in "[a-z]{1,9}(:[1-9][0-9]{0,3})?", id in "[a-zA-Z0-9_-]{1,20}(/[a-z0-9_-]{1,9})?") {
        let origin = of(&[("host", &host), ("x-forwarded-prefix", "/up")], &Via { behind_proxy: true, ..Via::default() });
        let id: UploadId = id.parse().unwrap();
        prop_assert_eq!(resolve(&origin.location("/files/", &id), &origin, "/files/"), Ok(id));
    }

    #[test]
    fn no_host_breaks_a_location(value in any_value(), behind_proxy: bool) {
        let mut headers = HeaderMap::new();
        for name in ["host", "forwarded", "x-forwarded-host", "x-forwarded-prefix"] {
            headers.insert(name, value.clone());
        }
        let via = Via { behind_proxy, ..Via::default() };
        let location = Origin::of(&headers, &Uri::from_static("/files/"), &via).location("/files/", &id());
        prop_assert!(location.bytes().all(|byte| byte.is_ascii_graphic()));
        prop_assert!(location.parse::<Uri>().is_ok());
    }

    #[test]
    fn no_reference_panics(text: String, near in "(http|https|//|/|files|x|[.:?#%])*") {
        let origin = of(&[("host", "x")], &Via::default());
        for text in [text, near] {
            let _ = resolve(&text, &origin, "/files/");
        }
    }
}
