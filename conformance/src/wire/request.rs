//! Requests, right and wrong ones.

use std::fmt::Display;

/// A request in the making.
#[derive(Debug, Clone)]
pub struct Request {
    /// The request line without its line end.
    line: String,
    method: String,
    fields: Vec<(String, Vec<u8>)>,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    None,
    Sized(Vec<u8>),
    Chunked {
        chunks: Vec<Vec<u8>>,
        trailers: Vec<(String, String)>,
    },
}

impl Request {
    /// `method` for `target`, without any field.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            line: format!("{method} {target} HTTP/1.1"),
            method: method.to_owned(),
            fields: Vec::new(),
            body: Body::None,
        }
    }

    /// Sends another request line than the right one.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        line.clone_into(&mut self.line);
        self
    }

    /// Adds a field; one of the same name stays, so it can be repeated.
    #[must_use]
    pub fn field(self, name: &str, value: impl Display) -> Self {
        self.raw_field(name, value.to_string().as_bytes())
    }

    /// Adds a field whose value is any bytes.
    #[must_use]
    pub fn raw_field(mut self, name: &str, value: &[u8]) -> Self {
        self.fields.push((name.to_owned(), value.to_vec()));
        self
    }

    /// Takes every field of that name away.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self
    }

    /// In the place of every field of that name.
    #[must_use]
    pub fn set(self, name: &str, value: impl Display) -> Self {
        self.without(name).field(name, value)
    }

    /// With a body whose `Content-Length` is right.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Body::Sized(body.as_ref().to_vec());
        self
    }

    /// With a chunked body.
    #[must_use]
    pub fn chunked(mut self, chunks: &[&[u8]]) -> Self {
        self.body = Body::Chunked {
            chunks: chunks.iter().map(|chunk| chunk.to_vec()).collect(),
            trailers: Vec::new(),
        };
        self
    }

    /// With a field behind a chunked body, announced by `Trailer`.
    ///
    /// # Panics
    /// If the body is not chunked: that is a mistake in a case.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: impl Display) -> Self {
        let Body::Chunked { trailers, .. } = &mut self.body else {
            panic!("a trailer needs a chunked body");
        };
        trailers.push((name.to_owned(), value.to_string()));
        self.field("Trailer", name)
    }

    /// The method, which decides how the answer's body is framed.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Request line and fields, with the empty line that ends them.
    #[must_use]
    pub fn head(&self) -> Vec<u8> {
        let mut head = self.line.clone().into_bytes();
        head.extend(b"\r\n");
        let mut add = |name: &str, value: &[u8]| {
            head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        };
        for (name, value) in &self.fields {
            add(name, value);
        }
        match &self.body {
            Body::None => {}
            Body::Sized(body) => add("Content-Length", body.len().to_string().as_bytes()),
            Body::Chunked { .. } => add("Transfer-Encoding", b"chunked"),
        }
        head.extend(b"\r\n");
        head
    }

    /// The body as it goes over the wire, chunk heads and trailers included.
    #[must_use]
    pub fn framed_body(&self) -> Vec<u8> {
        let (chunks, trailers) = match &self.body {
            Body::None => return Vec::new(),
            Body::Sized(body) => return body.clone(),
            Body::Chunked { chunks, trailers } => (chunks, trailers),
        };
        let mut out = Vec::new();
        for chunk in chunks {
            out.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
            out.extend(chunk);
            out.extend(b"\r\n");
        }
        out.extend(b"0\r\n");
        for (name, value) in trailers {
            out.extend(format!("{name}: {value}\r\n").as_bytes());
        }
        out.extend(b"\r\n");
        out
    }

    /// All of it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.head(), self.framed_body()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_as_it_was_built() {
        let request = Request::new("PATCH", "/a")
            .field("Host", "b")
            .field("Upload-Offset", 1)
            .set("upload-offset", 2)
            .body("xyz");
        assert_eq!(
            request.to_bytes(),
            b"PATCH /a HTTP/1.1\r\nHost: b\r\nupload-offset: 2\r\nContent-Length: 3\r\n\r\nxyz"
        );
    }

    #[test]
    fn a_chunked_body_carries_its_trailers() {
        let request = Request::new("PATCH", "/a")
            .chunked(&[b"0123456789", b"abcdef"])
            .trailer("Upload-Checksum", "sha1 x");
        assert_eq!(
            request.to_bytes(),
            b"PATCH /a HTTP/1.1\r\nTrailer: Upload-Checksum\r\nTransfer-Encoding: chunked\r\n\r\n\
              a\r\n0123456789\r\n6\r\nabcdef\r\n0\r\nUpload-Checksum: sha1 x\r\n\r\n"
        );
    }
}
