use std::io::Write as _;

use proptest::prelude::*;

use super::samples::*;
use super::*;
use crate::protocol::metadata::UploadMetadata;

fn declared(media: &str, name: &str) -> Declared {
    let pairs = [
        ("filetype", media.as_bytes()),
        ("filename", name.as_bytes()),
    ];
    let metadata = UploadMetadata::of(pairs).unwrap();
    Declared::of(Some(metadata.raw()))
}

fn on() -> Sniff {
    Sniff::default()
}

fn strict() -> Sniff {
    Sniff {
        strict: true,
        ..Sniff::default()
    }
}

#[test]
fn honest_uploads_pass() {
    for (bytes, media, name) in honest() {
        let verdict = on().judge(&bytes, &declared(media, name));
        assert_eq!(verdict, Ok(()), "{media} {name}");
        let nothing = on().judge(&bytes, &Declared::default());
        assert_eq!(nothing, Ok(()), "{media} {name}");
    }
}

#[test]
fn few_bytes_are_judged_only_where_more_change_nothing() {
    for (bytes, media, name) in honest() {
        for len in 0..=bytes.len() {
            let verdict = on().foresee(&bytes[..len], &declared(media, name));
            assert_eq!(verdict, Ok(()), "{media} {name} {len}");
        }
    }
    for (bytes, early) in [
        (&exe()[..8], true),
        (&PNG[..8], true),
        (b"%PDF-1.7\n", true),
        (b"\xff\xd8\xff\xe0", true),
        (b"MZ", false),
        (b"PK\x03\x04\x14\0\0\0", false),
        (b"\0\0\0\x20ftyp", false),
    ] {
        let verdict = on().foresee(bytes, &declared("audio/flac", "a.flac"));
        assert_eq!(verdict.is_err(), early, "{bytes:?}");
        let verdict = strict().foresee(b"\x01", &declared("audio/flac", ""));
        assert_eq!(verdict, Ok(()));
    }
}

#[test]
fn most_of_them_are_recognized() {
    for (bytes, media, name) in honest() {
        let verdict = strict().judge(&bytes, &declared(media, name));
        assert_eq!(verdict, Ok(()), "{media} {name}");
    }
}

#[test]
fn what_lies_is_refused() {
    let rtf = b"{\\rtf1\\ansi}";
    let pdf = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n";
    for (bytes, media, name) in [
        (&exe()[..], "image/png", "a.png"),
        (&exe(), "", "invoice.pdf"),
        (&exe(), "application/pdf", ""),
        (&exe(), "text/plain", "a.txt"),
        (&exe(), "application/x-nobody-knows", "a.nobody"),
        (&exe(), WORD, "a.docx"),
        (ELF, "image/jpeg", "a.jpg"),
        (ELF, "application/x-nobody-knows", ""),
        (PNG, "image/jpeg", "a.jpg"),
        (PNG, "image/png", "a.pdf"),
        (PNG, "video/mp4", "a.mp4"),
        (HTML, "image/png", "a.png"),
        (HTML, "", "a.png"),
        (SVG, "image/png", "a.png"),
        (&zip(&[("a", b"b")]), "application/pdf", "a.pdf"),
        (&zip(&[("a", b"b")]), "image/jpeg", ""),
        (&office("word/document.xml"), "video/mp4", ""),
        (&ole(), "application/pdf", "a.pdf"),
        (&ole(), "text/plain", "a.txt"),
        (pdf, "image/png", "a.png"),
        (rtf, "image/png", "a.png"),
        (&tar(), "application/pdf", ""),
        (&ftyp(*b"isom"), "image/png", "a.png"),
        (&ebml(b"webm"), "text/plain", "a.txt"),
        (b"#!/bin/sh\nrm", "image/jpeg", "a.jpg"),
        (&riff(*b"AVI "), "image/webp", "a.webp"),
    ] {
        let verdict = on().judge(bytes, &declared(media, name));
        assert!(verdict.is_err(), "{media} {name}");
    }
}

#[test]
fn what_is_not_recognized_passes_unless_strict() {
    let unknown = b"\x01\x02\x03\x04 nothing known \xff\xfe";
    let text = b"only text";
    let png = declared("image/png", "a.png");
    for bytes in [&unknown[..], text] {
        assert_eq!(on().judge(bytes, &png), Ok(()));
        assert!(strict().judge(bytes, &png).is_err());
    }
    assert!(strict().judge(unknown, &Declared::default()).is_err());
    assert_eq!(strict().judge(text, &Declared::default()), Ok(()));
    assert_eq!(strict().judge(b"", &png), Ok(()));
}

#[test]
fn lists_are_held_against_what_was_found() {
    let sniff = |allow: &str, deny: &str| Sniff {
        allow: allow.parse().unwrap(),
        deny: deny.parse().unwrap(),
        ..Sniff::default()
    };
    let docs = format!("image/*,{WORD}");
    let nothing = Declared::default();
    for (bytes, said, allow, deny, taken) in [
        (PNG, &nothing, "image/*", "", true),
        (PNG, &nothing, "", "image/*", false),
        (PNG, &nothing, "application/pdf", "", false),
        (HTML, &nothing, "image/*", "", false),
        (
            &exe()[..],
            &nothing,
            "",
            "application/vnd.microsoft.portable-executable",
            false,
        ),
        // A container's first bytes leave open what it is.
        (
            &zip(&[("_rels/.rels", b"")]),
            &declared(WORD, "a.docx"),
            &docs,
            "",
            true,
        ),
        (
            &zip(&[("_rels/.rels", b"")]),
            &declared(WORD, "a.docx"),
            "",
            "application/zip",
            true,
        ),
        (&zip(&[("a", b"b")]), &nothing, &docs, "", false),
        (
            SVG,
            &declared("image/svg+xml", "a.svg"),
            "image/*",
            "",
            true,
        ),
        (
            SVG,
            &declared("image/svg+xml", "a.svg"),
            "",
            "image/svg+xml",
            false,
        ),
        (
            b"plain",
            &declared("text/csv", "a.csv"),
            "text/csv",
            "",
            true,
        ),
        (b"plain", &nothing, "image/*", "", false),
        (b"\x01\x02\xff", &nothing, "image/*", "", false),
        (
            b"\x01\x02\xff",
            &declared("image/x-new", ""),
            "image/*",
            "",
            true,
        ),
        (
            b"{}",
            &declared("application/json", "a.json"),
            "application/json",
            "",
            true,
        ),
        (
            &ftyp(*b"heic"),
            &declared("image/heic", "a.heic"),
            "image/heic",
            "",
            true,
        ),
        (
            b"II*\0\x08\0\0\0\x0e\0\xfe\0",
            &declared("image/x-hasselblad-3fr", "a.3fr"),
            "image/*",
            "",
            true,
        ),
        (&ftyp(*b"mif1"), &nothing, "image/*", "", true),
        (&ftyp(*b"crx "), &nothing, "image/*", "", true),
        // Cut before the end of its brands.
        (&ftyp(*b"avif")[..20], &nothing, "image/*", "", true),
        (&ftyp(*b"isom"), &nothing, "image/*", "", false),
    ] {
        let verdict = sniff(allow, deny).judge(bytes, said);
        assert_eq!(
            verdict.is_ok(),
            taken,
            "{said:?} {allow:?} {deny:?}: {verdict:?}"
        );
    }
}

/// What is declared counts only where it is of a family with what was found.
#[test]
fn an_invented_type_is_no_way_around_the_lists() {
    let zip = zip(&[("a", b"b")]);
    for (bytes, found) in [
        (&zip[..], "application/zip"),
        (&ole(), "application/x-ole-storage"),
        (SVG, "text/xml"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "application/gzip"),
        (&ftyp(*b"isom"), "video/mp4"),
        (b"plain", "text/plain"),
    ] {
        let allow = Sniff {
            allow: "image/*,x/y".parse().unwrap(),
            ..Sniff::default()
        };
        let deny = Sniff {
            deny: found.parse().unwrap(),
            ..Sniff::default()
        };
        for said in ["image/x-foo", "image/png", "x/y"] {
            let said = declared(said, "");
            assert!(allow.judge(bytes, &said).is_err(), "{found}: {said:?}");
            assert!(deny.judge(bytes, &said).is_err(), "{found}: {said:?}");
        }
    }
}

#[test]
fn text_is_nothing_unknown_where_it_is_strict() {
    for said in ["image/x-foo", "x/y"] {
        let said = declared(said, "");
        for bytes in [&b"only text"[..], HTML, SVG, b"#!/bin/sh\n"] {
            assert_eq!(on().judge(bytes, &said), Ok(()), "{said:?}");
            assert!(strict().judge(bytes, &said).is_err(), "{said:?}");
        }
        // A magic number is a known type, whatever it is called.
        assert_eq!(strict().judge(&zip(&[("a", b"b")]), &said), Ok(()));
    }
}

#[test]
fn metadata_declares_in_several_ways() {
    let of = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(key, value)| (*key, value.as_bytes()));
        Declared::of(Some(UploadMetadata::of(pairs).unwrap().raw()))
    };
    let said = |media: Option<&str>, extension: Option<&str>| Declared {
        media: media.map(str::to_owned),
        extension: extension.map(str::to_owned),
    };
    assert_eq!(Declared::of(None), said(None, None));
    assert_eq!(Declared::of(Some(b",,")), said(None, None));
    for (pairs, wanted) in [
        (
            &[("filetype", "Image/PNG ; x=y")][..],
            said(Some("image/png"), None),
        ),
        (
            &[("type", "image/png"), ("name", "a.B.C")],
            said(Some("image/png"), Some("c")),
        ),
        (
            &[("filetype", ""), ("filename", ".bashrc")],
            said(None, None),
        ),
        (
            &[("filetype", "application/octet-stream"), ("filename", "a.")],
            said(None, None),
        ),
    ] {
        assert_eq!(of(pairs), wanted);
    }
}

#[test]
fn each_type_that_can_be_found_has_a_family() {
    for (bytes, media, name) in honest() {
        if let Found::Type(found) = look(&bytes) {
            assert!(is_known(found), "{found}, of {media} {name}");
        }
    }
    for vague in VAGUE {
        assert!(is_known(vague), "{vague}");
    }
}

proptest! {
    /// Whatever the bytes are, and wherever they are cut, there is a verdict.
    #[test]
    fn no_bytes_are_too_much(tail in proptest::collection::vec(any::<u8>(), 0..200), at in 0..80usize, cut in 0..400usize) {
        let all = honest();
        let (bytes, media, name) = &all[at % all.len()];
        let mut bytes = bytes.clone();
        bytes.truncate(cut);
        bytes.extend_from_slice(&tail);
        let mut out = Vec::new();
        write!(out, "{:?}", strict().judge(&bytes, &declared(media, name))).unwrap();
        let _ = on().judge(&tail, &declared(media, name));
        prop_assert!(!out.is_empty());
    }
}
