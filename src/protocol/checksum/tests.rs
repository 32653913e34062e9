use super::super::testing::{any_value, head};
use super::*;
use proptest::prelude::*;

fn read(raw: impl AsRef<[u8]>) -> Result<UploadChecksum, ChecksumError> {
    UploadChecksum::from_value(&HeaderValue::from_bytes(raw.as_ref()).unwrap())
}

/// `text`, in hexadecimal, as bytes.
fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn sum(algorithm: Algorithm, bytes: &[u8]) -> Vec<u8> {
    let mut digest = Digest::new(algorithm);
    digest.update(bytes);
    digest.finish()
}

/// FIPS 180-4's examples, RFC 1321 A.5 and RFC 3720 B.4.
#[test]
fn sums_of_known_texts() {
    let table: [(Algorithm, &[u8], &str); 13] = [
        (
            Algorithm::Sha1,
            b"",
            "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        ),
        (
            Algorithm::Sha1,
            b"abc",
            "a9993e364706816aba3e25717850c26c9cd0d89d",
        ),
        (
            Algorithm::Sha1,
            b"hello world",
            "2aae6c35c94fcfb415dbe95f408b9ce91ee846ed",
        ),
        (
            Algorithm::Sha256,
            b"",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        (
            Algorithm::Sha256,
            b"abc",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        (
            Algorithm::Sha512,
            b"",
            "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce\
             47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
        ),
        (
            Algorithm::Sha512,
            b"abc",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
        (Algorithm::Md5, b"", "d41d8cd98f00b204e9800998ecf8427e"),
        (Algorithm::Md5, b"abc", "900150983cd24fb0d6963f7d28e17f72"),
        (Algorithm::Crc32c, b"", "00000000"),
        (Algorithm::Crc32c, b"123456789", "e3069283"),
        (Algorithm::Crc32c, &[0; 32], "8a9136aa"),
        (Algorithm::Crc32c, &[0xff; 32], "62a8ab43"),
    ];
    for (algorithm, bytes, wanted) in table {
        assert_eq!(
            sum(algorithm, bytes),
            hex(wanted),
            "{algorithm:?} of {bytes:?}"
        );
    }
}

#[test]
fn the_list_on_offer_is_the_list_there_is() {
    let names: Vec<_> = Algorithm::ALL
        .iter()
        .map(|algorithm| algorithm.name())
        .collect();
    assert_eq!(names.join(","), NAMES);
    for algorithm in Algorithm::ALL {
        assert_eq!(sum(algorithm, b"x").len(), algorithm.sum_len());
    }
}

#[test]
fn good_values() {
    let wanted = UploadChecksum {
        algorithm: Algorithm::Sha1,
        sum: sum(Algorithm::Sha1, b"hello world"),
    };
    for raw in [
        "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
        "SHA1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
        " Sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=\t",
    ] {
        assert_eq!(read(raw), Ok(wanted.clone()), "{raw:?}");
    }
    assert!(wanted.matches(&sum(Algorithm::Sha1, b"hello world")));
    assert!(!wanted.matches(&sum(Algorithm::Sha1, b"hello World")));
    assert!(!wanted.matches(&[]));
    assert_eq!(
        read("crc32c 4waSgw==").unwrap().sum,
        0xe306_9283_u32.to_be_bytes()
    );
    let headers = head(&[("upload-checksum", "crc32c 4waSgw==")]);
    assert!(UploadChecksum::from_headers(&headers).unwrap().is_some());
    assert_eq!(UploadChecksum::from_headers(&HeaderMap::new()), Ok(None));
}

#[test]
fn bad_values() {
    for raw in [
        "sha3 YQ==",
        "sha-1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
        "crc32 4waSgw==",
        "\u{e9} YQ==",
        "none AA==",
    ] {
        assert_eq!(read(raw), Err(ChecksumError::Unknown), "{raw:?}");
    }
    let malformed = Err(ChecksumError::Header(HeaderError::Malformed(NAME)));
    for raw in [
        "",
        " ",
        "sha1",
        "sha1 ",
        "sha1,Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
        "sha1\tKq5sNclPz7QV2+lfQIuc6R7oRu0=",
        "sha1  Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
        "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0",
        "sha1 Kq5sNclPz7QV2-lfQIuc6R7oRu0=",
        "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0= ,",
        "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0= md5 x",
        "sha1 4waSgw==",
        "sha1 YQ==",
        "sha256 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
        "sha1 2aae6c35c94fcfb415dbe95f408b9ce91ee846ed",
        "sha1 \u{e9}",
    ] {
        assert_eq!(read(raw), malformed, "{raw:?}");
    }
    assert_eq!(read(format!("sha1 {}", "A".repeat(60_000))), malformed);
    let twice = head(&[(NAME, "crc32c 4waSgw=="), (NAME, "crc32c 4waSgw==")]);
    let repeated = ChecksumError::Header(HeaderError::Repeated(NAME));
    assert_eq!(UploadChecksum::from_headers(&twice), Err(repeated));
}

#[test]
fn trailers_are_announced_in_any_spelling() {
    for lines in [
        &["Upload-Checksum"][..],
        &["upload-checksum"],
        &["Expires, UPLOAD-CHECKSUM"],
        &["a", "b,\tupload-checksum ,c"],
    ] {
        let headers: Vec<_> = lines.iter().map(|line| ("Trailer", *line)).collect();
        assert!(trailer_announced(&head(&headers)), "{lines:?}");
    }
    for lines in [
        &[][..],
        &[""],
        &["Upload-Checksums"],
        &["Upload Checksum"],
        &["x;Upload-Checksum"],
        &["\u{e9}"],
    ] {
        let headers: Vec<_> = lines.iter().map(|line| ("Trailer", *line)).collect();
        assert!(!trailer_announced(&head(&headers)), "{lines:?}");
    }
}

proptest! {
    #[test]
    fn sums_do_not_depend_on_the_frames(bytes: Vec<u8>, cut: prop::sample::Index) {
        for algorithm in Algorithm::ALL {
            let at = cut.index(bytes.len() + 1);
            let mut digest = Digest::new(algorithm);
            digest.update(&bytes[..at]);
            digest.update(&bytes[at..]);
            let sum = digest.finish();
            prop_assert_eq!(&sum, &self::sum(algorithm, &bytes));
            let raw = format!("{} {}", algorithm.name(), STANDARD.encode(&sum));
            prop_assert_eq!(read(raw), Ok(UploadChecksum { algorithm, sum }));
        }
    }

    #[test]
    fn no_value_panics(value in any_value()) {
        let _ = UploadChecksum::from_value(&value);
        let _ = trailer_announced(&HeaderMap::from_iter([(header::TRAILER, value)]));
    }
}
