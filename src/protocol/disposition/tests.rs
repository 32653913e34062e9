use std::sync::LazyLock;

use super::*;
use http::HeaderValue;
use percent_encoding::percent_decode_str;
use proptest::prelude::*;
use regex::Regex;

#[test]
fn names() {
    let table: [(&[u8], &str); 27] = [
        (b"a.txt", "a.txt"),
        (b"two words.txt", "two words.txt"),
        (b"it's;a=b,c.txt", "it's;a=b,c.txt"),
        (b" padded ", "padded"),
        (
            "na\u{ef}ve.txt".as_bytes(),
            "na_ve.txt\"; filename*=UTF-8''na%C3%AFve.txt",
        ),
        (
            "\u{20ac} rates".as_bytes(),
            "_ rates\"; filename*=UTF-8''%E2%82%AC%20rates",
        ),
        ("\u{1f600}".as_bytes(), "_\"; filename*=UTF-8''%F0%9F%98%80"),
        (
            b"say \"hi\".txt",
            "say _hi_.txt\"; filename*=UTF-8''say%20%22hi%22.txt",
        ),
        (b"100%41.txt", "100%41.txt\"; filename*=UTF-8''100%2541.txt"),
        (b"../../etc/passwd", ".._.._etc_passwd"),
        (b"C:\\fakepath\\a.txt", "C:_fakepath_a.txt"),
        (b"a\r\nSet-Cookie: b", "a__Set-Cookie: b"),
        (b"a\0b", "a_b"),
        (b"a\x7fb", "a_b"),
        (b"a\tb", "a_b"),
        (b"\xff\xfe.bin", "__.bin"),
        ("exe.\u{202e}gpj".as_bytes(), "exe._gpj"),
        ("a\u{200b}b\u{85}c".as_bytes(), "a_b_c"),
        (
            "a\u{ad}\u{115f}\u{1160}\u{2800}\u{3164}\u{ffa0}\u{e0001}\u{e007f}b".as_bytes(),
            "a________b",
        ),
        ("a\u{200c}b\u{200d}".as_bytes(), "a_b_"),
        (
            "\u{6cc}\u{200c}\u{62f}".as_bytes(),
            "___\"; filename*=UTF-8''%DB%8C%E2%80%8C%D8%AF",
        ),
        (b"", ""),
        (b"  ", ""),
        (b".", ""),
        (b" .. ", ""),
        (b".profile", ".profile"),
        (b"\\", "_"),
    ];
    for (name, wanted) in table {
        let wanted = match (wanted, wanted.contains("filename*")) {
            ("", _) => "attachment".to_owned(),
            (wanted, true) => format!("attachment; filename=\"{wanted}"),
            (wanted, false) => format!("attachment; filename=\"{wanted}\""),
        };
        assert_eq!(content_disposition(Some(name), false), wanted, "{name:?}");
    }
    assert_eq!(content_disposition(None, false), "attachment");
    assert_eq!(content_disposition(None, true), "inline");
    assert_eq!(
        content_disposition(Some(b"a"), true),
        "inline; filename=\"a\""
    );
}

#[test]
fn long_names_are_cut_before_their_extension() {
    let long = format!("{}.tar.gz", "a".repeat(60_000));
    let cut = safe_name(long.as_bytes());
    assert_eq!((cut.len(), cut.ends_with("a.gz")), (NAME_MAX, true));
    let long = format!("{}.{}", "a".repeat(300), "b".repeat(300));
    assert_eq!(safe_name(long.as_bytes()), "a".repeat(NAME_MAX));
    let wide = format!("{}.txt", "\u{20ac}".repeat(300));
    let cut = safe_name(wide.as_bytes());
    assert!(cut.len() <= NAME_MAX && cut.len() > NAME_MAX - 3 && cut.ends_with("\u{20ac}.txt"));
    // A joiner has nothing to join where the name was cut.
    let joined = format!("{}.txt", "\u{20ac}\u{200d}".repeat(300));
    let cut = safe_name(joined.as_bytes());
    assert!(cut.ends_with("\u{20ac}.txt") && safe_name(cut.as_bytes()) == cut);
}

#[test]
fn types_that_are_well_formed() {
    for good in [
        "text/plain",
        "image/svg+xml",
        "application/vnd.ms-excel",
        "TEXT/Plain",
        "text/plain;charset=utf-8",
        "text/plain; charset=\"utf-8\"",
        "text/plain ; charset=utf-8 ; x=y",
        "text/plain;",
        "video/mp4; codecs=\"avc1, \\\"mp4a\\\"\"",
        "application/x-7z-compressed",
    ] {
        assert_eq!(content_type(Some(good.as_bytes())), good, "{good:?}");
    }
    assert_eq!(content_type(Some(b" text/plain ")), "text/plain");
}

#[test]
fn types_that_are_not() {
    let huge = format!("text/{}", "a".repeat(60_000));
    for bad in [
        "",
        "text",
        "/",
        "text/",
        "/plain",
        "text/plain/x",
        "*/*",
        "image/*",
        "text /plain",
        "text/ plain",
        "text/plain, text/html",
        "text/plain charset=utf-8",
        "text/plain;charset",
        "text/plain;=utf-8",
        "text/plain;charset=",
        "text/plain;charset=a b",
        "text/plain;x=\"a",
        "text/plain;x=\"a\"b",
        "text/plain;x=\"\u{e9}\"",
        "text/plain;\tx=y",
        "text/plain\r\nx: y",
        "text/\u{e9}",
        "text/plain;x=\"\\\"",
        "-x/y",
        "<script>/x",
        &huge,
    ] {
        assert_eq!(content_type(Some(bad.as_bytes())), OCTET_STREAM, "{bad:?}");
    }
    assert_eq!(content_type(Some(b"text/\xff")), OCTET_STREAM);
    assert_eq!(content_type(None), OCTET_STREAM);
}

#[test]
fn only_what_cannot_script_is_shown_in_place() {
    for good in [
        "text/plain",
        "Text/Plain; charset=utf-8",
        "image/png",
        "image/avif",
        "audio/mpeg",
        "video/mp4",
        "application/ogg",
    ] {
        assert!(may_inline(good), "{good}");
    }
    for bad in [
        "text/html",
        "text/html;text/plain",
        "image/svg+xml",
        "IMAGE/SVG+XML; x=y",
        "image/svg",
        "image/x+xml",
        "text/xml",
        "text/javascript",
        "text/css",
        "application/xhtml+xml",
        "application/pdf",
        "application/octet-stream",
        "multipart/x-mixed-replace",
        "image/",
        "image",
        "",
    ] {
        assert!(!may_inline(bad), "{bad}");
    }
}

/// The name in a `Content-Disposition: attachment`: `filename*` before `filename`, as RFC 6266, 4.3, has it.
fn read_back(value: &str) -> Option<String> {
    const GRAMMAR: &str = r#"^attachment(?:; filename="([ !#-\[\]-~]+)"(?:; filename\*=UTF-8''((?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-F]{2})+))?)?$"#;
    static READ: LazyLock<Regex> = LazyLock::new(|| Regex::new(GRAMMAR).unwrap());
    let found = READ.captures(value).expect(value);
    match (found.get(1), found.get(2)) {
        (_, Some(encoded)) => {
            let name = percent_decode_str(encoded.as_str()).decode_utf8();
            Some(name.unwrap().into_owned())
        }
        (plain, None) => plain.map(|plain| plain.as_str().to_owned()),
    }
}

proptest! {
    #[test]
    fn names_make_a_bounded_header(name: Vec<u8>, inline: bool) {
        let value = content_disposition(Some(&name), inline);
        prop_assert!(value.bytes().all(|byte| matches!(byte, b' '..=b'~')));
        prop_assert!(value.len() < 50 + 4 * NAME_MAX);
    }

    #[test]
    fn names_read_back(name in "[a-zA-Z\u{e9}\u{4e2d}\u{1f600}\"%;][a-z \u{e9}\"%;]{0,20}[a-z]") {
        let value = content_disposition(Some(name.as_bytes()), false);
        let read = match value.split_once("filename*=UTF-8''") {
            Some((_, name)) => percent_decode_str(name).decode_utf8().unwrap().into_owned(),
            None => value["attachment; filename=\"".len()..value.len() - 1].to_owned(),
        };
        prop_assert_eq!(read, name);
    }

    /// Any name comes out of the header, read by RFC 6266 and RFC 8187, as the name that is safe to show.
    #[test]
    fn every_name_reads_back(name in proptest::collection::vec(prop_oneof![any::<char>(), "[ -~]".prop_map(|c| c.as_bytes()[0].into()), Just('\u{200d}')], 0..60)) {
        let harmful = |c: char| matches!(u32::from(c),
            0..=0x1f | 0x7f..=0x9f | 0xad | 0x2f | 0x5c | 0x61c | 0x115f | 0x1160 | 0x200b..=0x200f | 0x2028..=0x202e |
            0x2060..=0x206f | 0x2800 | 0x3164 | 0xfeff | 0xffa0 | 0xfffd | 0xe0001..=0xe007f);
        let joins = |c: Option<&char>| c.is_some_and(|c| !c.is_ascii() && !c.is_whitespace() && !harmful(*c));
        let safe: String = (0..name.len()).map(|at| match name[at] {
            c @ ('\u{200c}' | '\u{200d}') if at > 0 && joins(name.get(at - 1)) && joins(name.get(at + 1)) => c,
            c if harmful(c) => '_',
            c => c,
        }).collect();
        let safe = safe.trim();
        let name: String = name.iter().collect();
        let value = content_disposition(Some(name.as_bytes()), false);
        let read = read_back(&value);
        if safe.trim_matches('.').is_empty() {
            prop_assert_eq!(read, None);
        } else if safe.len() <= NAME_MAX {
            prop_assert_eq!(read.as_deref(), Some(safe), "{}", value);
        }
    }

    #[test]
    fn types_make_a_header(filetype: Vec<u8>, near in "[a-z/;=\" \\\\]{0,30}") {
        for filetype in [filetype, near.into_bytes()] {
            let value = content_type(Some(&filetype));
            prop_assert!(HeaderValue::from_str(&value).is_ok());
            prop_assert_eq!(&content_type(Some(value.as_bytes())), &value);
            let _ = may_inline(&value);
        }
    }

    #[test]
    fn well_formed_types_stand(kind in "[a-z]{1,9}/[a-z][a-z.+-]{0,9}", value in "[a-z;/, ]{0,9}") {
        let text = format!("{kind};x=\"{value}\"");
        prop_assert_eq!(content_type(Some(text.as_bytes())), text);
    }
}
