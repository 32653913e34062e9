//! One upload at a time.

use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha1::Sha1;
use sha2::Sha256;

use crate::failure::Failure;
use crate::h2::Http2;
use crate::site::{Done, MIB, Site};
use crate::tus::Upload;

/// Whose sums a body is sent under.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Algorithm {
    Sha1,
    Sha256,
}

/// One upload, `step` bytes a PATCH.
pub(crate) fn one(site: &Site, len: u64, step: u64) -> Result<Done, Failure> {
    let mut via = site.connect()?;
    let mut done = site.begin()?;
    let mut upload = Upload::create(&mut via, &site.target, 0, len)?;
    let began = Instant::now();
    while upload.offset < len {
        let sent = Instant::now();
        upload.append(&mut via, &site.pattern, step.min(len - upload.offset))?;
        done.steps.push(sent.elapsed());
    }
    done.wall = began.elapsed();
    done.uploads.push(upload);
    Ok(done)
}

/// One upload, 1 MiB a PATCH, each under its sum; and one PATCH under the sum of other bytes.
pub(crate) fn checked(site: &Site, mib: u64, algorithm: Algorithm) -> Result<Done, Failure> {
    // The client's work on the sums is done before the clock runs.
    let sums: Vec<String> = (0..mib)
        .map(|n| {
            let range = n * MIB..(n + 1) * MIB;
            let (name, sum) = match algorithm {
                Algorithm::Sha1 => ("sha1", site.pattern.sum::<Sha1>(0, range)),
                Algorithm::Sha256 => ("sha256", site.pattern.sum::<Sha256>(0, range)),
            };
            format!("{name} {}", BASE64_STANDARD.encode(sum))
        })
        .collect();
    let mut via = site.connect()?;
    let mut done = site.begin()?;
    let mut upload = Upload::create(&mut via, &site.target, 0, mib * MIB)?;
    let began = Instant::now();
    for sum in &sums {
        let sent = Instant::now();
        upload.append_with(&mut via, &site.pattern, MIB, Some(sum))?;
        done.steps.push(sent.elapsed());
    }
    done.wall = began.elapsed();
    done.uploads.push(upload);

    let other = Upload::create(&mut via, &site.target, 1, MIB)?;
    let answer = other.try_append(&mut via, &site.pattern, MIB, Some(&sums[0]))?;
    // A server that refuses may close the connection.
    let kept = other.told(&mut site.connect()?)?;
    done.figure("false_sum_status", f64::from(answer.status));
    let refused = answer.status >= 400 && kept == Some(0);
    done.figure("false_sum_refused", f64::from(u8::from(refused)));
    Ok(done)
}

/// One upload over HTTP/2, `step` bytes a PATCH. It is created, and its offset asked for, over HTTP/1.1.
pub(crate) fn h2(site: &Site, len: u64, step: u64) -> Result<Done, Failure> {
    let mut via = site.connect()?;
    let mut http2 = Http2::open(&site.target)?;
    let mut done = site.begin()?;
    let mut upload = Upload::create(&mut via, &site.target, 0, len)?;
    let began = Instant::now();
    while upload.offset < len {
        let now = step.min(len - upload.offset);
        let sent = Instant::now();
        let body = site.pattern.run(0, upload.offset..upload.offset + now);
        let status = http2.patch(&upload.path, upload.offset, now, body)?;
        if status != 204 {
            return Err(Failure::Status {
                method: "PATCH",
                path: upload.path,
                wanted: 204,
                got: status,
            });
        }
        done.steps.push(sent.elapsed());
        upload.offset += now;
    }
    done.wall = began.elapsed();
    done.uploads.push(upload);
    Ok(done)
}
