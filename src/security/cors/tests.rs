use super::*;
use proptest::prelude::*;

fn answer(options: &CorsOptions, origin: Option<&str>, preflight: bool) -> HeaderMap {
    let origin = origin.map(|origin| HeaderValue::from_bytes(origin.as_bytes()).unwrap());
    let mut out = HeaderMap::new();
    Cors::new(options)
        .unwrap()
        .headers(origin.as_ref(), preflight, &mut out);
    out
}

fn of(pattern: &str) -> CorsOptions {
    CorsOptions {
        allow_origin: pattern.into(),
        ..CorsOptions::default()
    }
}

#[test]
fn by_default_every_origin_is_named_back() {
    let plain = answer(&CorsOptions::default(), Some("https://a.test"), false);
    assert_eq!(plain[ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.test");
    assert_eq!(plain[ACCESS_CONTROL_EXPOSE_HEADERS], EXPOSED);
    assert_eq!(plain[VARY], "Origin");
    assert_eq!(plain.len(), 3);
    let preflight = answer(&CorsOptions::default(), Some("https://a.test"), true);
    assert_eq!(preflight[ACCESS_CONTROL_ALLOW_METHODS], METHODS);
    assert_eq!(preflight[ACCESS_CONTROL_ALLOW_HEADERS], ALLOWED);
    assert_eq!(preflight[ACCESS_CONTROL_EXPOSE_HEADERS], EXPOSED);
    assert_eq!(preflight[ACCESS_CONTROL_MAX_AGE], "86400");
    assert_eq!(preflight.len(), 6);
}

#[test]
fn an_origin_matches_whole_or_not_at_all() {
    let table = [
        ("https://a\\.test", "https://a.test", true),
        ("https://a\\.test", "https://a.test.evil.test", false),
        (
            "https://a\\.test",
            "https://evil.test/https://a.test",
            false,
        ),
        ("https://a\\.test|https://b\\.test", "https://b.test", true),
        (
            "https://a\\.test|https://b\\.test",
            "https://b.test.evil.test",
            false,
        ),
        (
            "https://a\\.test|https://b\\.test",
            "https://a.test.evil.test",
            false,
        ),
        ("(?i)https://a\\.test", "https://A.TEST", true),
        ("https://.*\\.a\\.test(:\\d+)?", "https://x.a.test:1", true),
        (".*", "null", true),
        (".*", "", false),
        (".*", "https://\u{e9}.test", false),
        ("", "https://a.test", false),
    ];
    for (pattern, origin, allowed) in table {
        let out = answer(&of(pattern), Some(origin), true);
        assert_eq!(
            out.len(),
            if allowed { 6 } else { 1 },
            "{origin:?} by {pattern:?}"
        );
        assert_eq!(out[VARY], "Origin");
    }
    assert_eq!(answer(&CorsOptions::default(), None, true).len(), 1);
}

#[test]
fn the_operator_adds_to_the_lists() {
    let options = CorsOptions {
        allow_credentials: true,
        allow_methods: vec!["PUT, GET".into(), "put".into()],
        allow_headers: vec![
            "X-Own, content-type".into(),
            " X-Two ".into(),
            "x-own,,".into(),
        ],
        expose_headers: vec!["ETag".into(), "location".into()],
        max_age: 0,
        ..CorsOptions::default()
    };
    let out = answer(&options, Some("https://a.test"), true);
    assert_eq!(out[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
    assert_eq!(
        out[ACCESS_CONTROL_ALLOW_METHODS],
        format!("{METHODS}, PUT, put")
    );
    assert_eq!(
        out[ACCESS_CONTROL_ALLOW_HEADERS],
        format!("{ALLOWED}, X-Own, X-Two")
    );
    assert_eq!(
        out[ACCESS_CONTROL_EXPOSE_HEADERS],
        format!("{EXPOSED}, ETag")
    );
    assert_eq!(out[ACCESS_CONTROL_MAX_AGE], "0");
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for pattern in ["(", "a)|(b", "*", "[", "(?x) a # b", "\\"] {
        assert!(
            matches!(Cors::new(&of(pattern)), Err(CorsError::Pattern(_))),
            "{pattern:?}"
        );
    }
    for bad in ["X Y", "\u{e9}", "X:", "a\r\nb", "\"", "*/*"] {
        let own = vec![bad.to_owned()];
        let headers = CorsOptions {
            allow_headers: own.clone(),
            ..CorsOptions::default()
        };
        assert!(
            matches!(Cors::new(&headers), Err(CorsError::Header(_))),
            "{bad:?}"
        );
        let exposed = CorsOptions {
            expose_headers: own.clone(),
            ..CorsOptions::default()
        };
        assert!(
            matches!(Cors::new(&exposed), Err(CorsError::Header(_))),
            "{bad:?}"
        );
        let methods = CorsOptions {
            allow_methods: own,
            ..CorsOptions::default()
        };
        assert!(
            matches!(Cors::new(&methods), Err(CorsError::Method(_))),
            "{bad:?}"
        );
    }
}

#[test]
fn what_an_answer_varies_by_already_stays() {
    let mut out = HeaderMap::from_iter([(VARY, HeaderValue::from_static("Accept"))]);
    Cors::new(&CorsOptions::default())
        .unwrap()
        .headers(None, false, &mut out);
    assert_eq!(out.get_all(VARY).iter().count(), 2);
}

proptest! {
    #[test]
    fn no_option_and_no_origin_panics(pattern: String, name: String, origin in "[!-~\u{e9}]{0,40}") {
        let own = vec![name];
        let options = CorsOptions {
            allow_origin: pattern,
            allow_methods: own.clone(),
            allow_headers: own.clone(),
            expose_headers: own,
            ..CorsOptions::default()
        };
        if let Ok(cors) = Cors::new(&options) {
            cors.headers(HeaderValue::from_bytes(origin.as_bytes()).ok().as_ref(), true, &mut HeaderMap::new());
        }
    }
}
