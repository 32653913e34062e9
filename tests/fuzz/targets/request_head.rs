#![no_main]

#[path = "../metadata.rs"]
mod metadata;
#[path = "../request_head.rs"]
#[expect(dead_code, reason = "what was seen is for the test program")]
mod request_head;
#[path = "../wire.rs"]
mod wire;

use std::sync::LazyLock;

static TARGET: LazyLock<request_head::Target> = LazyLock::new(request_head::Target::start);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| TARGET.run(bytes));
