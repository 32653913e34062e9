//! Invariant 9: a string from a client becomes an id, or is refused, before it comes near a path.

use std::path::Path;

use highwater::upload::UploadId;

use crate::support::{len_of, same, start, walk};

/// Names that lead elsewhere wherever they are taken for a path: each is refused, and leaves nothing anywhere.
const EVIL: &[&str] = &[
    "..",
    ".",
    "../victim",
    "../../victim",
    "x/../../../victim",
    "../../../../../../../../etc/passwd",
    "%2e%2e/victim",
    "%2e%2e%2fvictim",
    "..%2f..%2fvictim",
    "%2E%2E%2F%2E%2E%2Fvictim",
    "..%5c..%5cvictim",
    "..\\..\\victim",
    "%252e%252e%252fvictim",
    "..%252fvictim",
    "%c0%ae%c0%ae/victim",
    "..%c0%afvictim",
    "%e0%80%ae%e0%80%ae/victim",
    "..;/victim",
    "....//victim",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "//victim",
    "a//b",
    "victim%00",
    "%00",
    "victim%0d%0aX-Injected:%20yes",
    "%0a",
    "%ff",
    "%",
    "%2",
    "%zz",
    "~",
    "*",
    "a%20b",
    "a,b",
    "a%2cb",
    "x~draft",
    "x~list.json",
    "x~0",
    "C:%5cvictim",
    "file:///etc/passwd",
    "http://evil.example/files/x",
    "//evil.example/files/x",
];

/// Every path below `dir` with its length, but those of the state store, whose files grow.
fn tree(dir: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    walk(dir, &mut |path| {
        let below = path.strip_prefix(dir).expect("below").display().to_string();
        if !below.starts_with("data/state") && !below.starts_with("data/boot") {
            found.push((below, len_of(path)));
        }
    });
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invariant_9_no_name_leads_out_of_the_data_directory() {
    let server = start().await;
    let outside = server.data().parent().unwrap().to_owned();
    for victim in [
        "victim",
        "data/victim",
        "data/files/victim",
        "data/info/victim.json",
    ] {
        std::fs::write(outside.join(victim), "precious").unwrap();
    }
    let path = server.part(b"a real one").await;
    let before = tree(&outside);
    let long = ["x".repeat(129), "x/".repeat(150) + "x", "..%2f".repeat(500)];
    for name in EVIL.iter().copied().chain(long.iter().map(String::as_str)) {
        let raw = format!("/files/{name}");
        let requests = [
            server.tus("HEAD", &raw),
            server.request("GET", &raw),
            server.patch(&raw, 0, "evil"),
            server.tus("DELETE", &raw),
            server
                .tus("POST", &raw)
                .header("X-HTTP-Method-Override", "DELETE"),
            server
                .patch(&raw, 0, "evil")
                .header("X-HTTP-Method-Override", "PATCH"),
        ];
        for request in requests {
            let reply = request.send().await;
            assert!(matches!(reply.status, 400 | 404 | 405), "{name}: {reply:?}");
            assert_eq!(reply.header("X-Injected"), None);
        }
        let creation = server
            .tus("POST", &raw)
            .header("Upload-Length", 1)
            .send()
            .await;
        assert!(
            matches!(creation.status, 400 | 404 | 405),
            "{name}: {creation:?}"
        );
        let references = [
            name.to_owned(),
            raw.clone(),
            format!("http://{}{raw}", server.addr),
            format!("{path}x/{name}"),
            format!("{path} {name}"),
        ];
        for reference in references {
            let post = server.tus("POST", "/files/");
            let reply = post
                .header("Upload-Concat", format!("final;{reference}"))
                .send()
                .await;
            assert_eq!(reply.status, 400, "{reference}: {reply:?}");
        }
        // And where a name is made of it: never.
        let decoded: Vec<u8> = percent_encoding::percent_decode_str(name).collect();
        let decoded = String::from_utf8_lossy(&decoded).into_owned();
        for text in [name, &decoded] {
            assert!(
                text.parse::<UploadId>().is_err()
                    || !text.contains(['%', '\\', '~', ',', ' ', ':']),
                "{text}"
            );
            let climbs = text.split('/').any(|part| matches!(part, "" | "." | ".."));
            assert!(text.parse::<UploadId>().is_err() || !climbs, "{text}");
        }
        assert_eq!(tree(&outside), before, "{name}");
    }
    same(&server.get(&path).await.body, b"a real one");
}

/// What a client calls its file has nothing to do with where it lies.
#[tokio::test]
async fn invariant_9_a_file_name_is_only_metadata() {
    use base64::Engine as _;
    let server = start().await;
    let outside = server.data().parent().unwrap().to_owned();
    for name in [
        "../../victim",
        "/etc/passwd",
        "..\\victim",
        "a\0b",
        "\r\nX-Injected: yes",
    ] {
        let coded = base64::engine::general_purpose::STANDARD.encode(name);
        let post = server.tus("POST", "/files/").header("Upload-Length", 4);
        let created = post
            .header("Upload-Metadata", format!("filename {coded}"))
            .send()
            .await;
        let path = created.location_path();
        let id = crate::support::id(&path);
        assert!(uuid::Uuid::parse_str(id).is_ok(), "{id}");
        assert_eq!(server.patch(&path, 0, "four").send().await.status, 204);
        let reply = server.get(&path).await;
        assert_eq!(
            (reply.body.as_slice(), reply.header("X-Injected")),
            (&b"four"[..], None)
        );
        for (file, _) in tree(&outside) {
            assert!(
                file.starts_with("data/files/") || file.starts_with("data/info/"),
                "{file}"
            );
        }
    }
}
