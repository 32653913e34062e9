//! The core protocol: HEAD and PATCH.

use crate::case::{Case, ensure, must};
use crate::reference::{Fault, Flaw};

const HEAD: &str = "tus 1.0.0, Core Protocol, Requests, HEAD";
const PATCH: &str = "tus 1.0.0, Core Protocol, Requests, PATCH";

pub(super) const CASES: &[Case] = &[
    must(
        "core.head.offset-zero",
        HEAD,
        "The Server MUST always include the `Upload-Offset` header in the response for a `HEAD` request, even if the offset is `0`",
        Fault::Without("HEAD", 200, "Upload-Offset"),
        |client| {
            let upload = client.create(5)?;
            client.ensure_offset(&upload, 0)
        },
    ),
    must(
        "core.patch.offset-mismatch",
        PATCH,
        "If the offsets do not match, the Server MUST respond with the `409 Conflict` status",
        Fault::Status("PATCH", 409, 400),
        |client| {
            let upload = client.create(10)?;
            let answer = client.send(&client.patch(&upload, 5).body("hello"))?;
            ensure(
                answer.status == 409,
                format!("answered by {}", answer.status),
            )
        },
    ),
    must(
        "core.patch.offset-mismatch-unmodified",
        PATCH,
        "without modifying the upload resource",
        Fault::Flaw(Flaw::MismatchStored),
        |client| {
            let upload = client.create(10)?;
            client.append(&upload, 0, b"hello")?;
            client.send(&client.patch(&upload, 0).body("HELLO"))?;
            client.ensure_offset(&upload, 5)?;
            client.append(&upload, 5, b"world")?;
            client.ensure_bytes(&upload, b"helloworld")
        },
    ),
];
