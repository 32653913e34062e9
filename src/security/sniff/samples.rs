//! First bytes of files of many formats, made here.

/// A zip archive's first members, stored.
pub(super) fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in members {
        let (name_len, len) = (
            u16::try_from(name.len()).unwrap(),
            u32::try_from(content.len()).unwrap(),
        );
        bytes.extend_from_slice(b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0");
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&name_len.to_le_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(content);
    }
    bytes
}

pub(super) fn office(part: &str) -> Vec<u8> {
    zip(&[
        ("[Content_Types].xml", b"<Types/>"),
        ("_rels/.rels", b"<Relationships/>"),
        (part, b"<x/>"),
    ])
}

pub(super) fn ftyp(brand: [u8; 4]) -> Vec<u8> {
    [
        &b"\0\0\0\x18ftyp"[..],
        &brand,
        b"\0\0\x02\0isomiso2",
        b"\0\0\0\x08free",
    ]
    .concat()
}

pub(super) fn riff(form: [u8; 4]) -> Vec<u8> {
    [&b"RIFF\x24\0\0\0"[..], &form, b"fmt \x10\0\0\0\x01\0\x01\0"].concat()
}

pub(super) fn ebml(doctype: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01\x42\xf2\x81\x04\x42\xf3\x81\x08\x42\x82".to_vec();
    bytes.push(0x80 | u8::try_from(doctype.len()).unwrap());
    bytes.extend_from_slice(doctype);
    bytes.extend_from_slice(b"\x42\x87\x81\x04");
    bytes
}

pub(super) fn tar() -> Vec<u8> {
    let mut bytes = vec![0; 512];
    bytes[..5].copy_from_slice(b"a.txt");
    bytes[257..263].copy_from_slice(b"ustar\0");
    bytes
}

pub(super) fn exe() -> Vec<u8> {
    let mut bytes = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0\xb8\0".to_vec();
    bytes.resize(0x80, 0);
    bytes[0x3c] = 0x80;
    bytes.extend_from_slice(b"PE\0\0\x64\x86\x03\0");
    bytes
}

pub(super) fn ole() -> Vec<u8> {
    let mut bytes = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec();
    bytes.resize(512, 0);
    bytes[24] = 0x3e;
    bytes
}

pub(super) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0";
pub(super) const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0";
pub(super) const ELF: &[u8] = &{
    let mut bytes = [0; 64];
    let (magic, _) = bytes.split_at_mut(8);
    magic.copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    bytes
};
pub(super) const SVG: &[u8] =
    b"<?xml version=\"1.0\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\"/>";
pub(super) const BARE_SVG: &[u8] = b"<svg xmlns=\"http://www.w3.org/2000/svg\"></svg>";
pub(super) const HTML: &[u8] = b"<!DOCTYPE html>\n<html><head></head></html>";
pub(super) const WORD: &str =
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
pub(super) const SHEET: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

/// Bytes with what browsers and people call them: none of it is a false alarm.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn honest() -> Vec<(Vec<u8>, &'static str, &'static str)> {
    let epub = zip(&[("mimetype", b"application/epub+zip")]);
    let odt = zip(&[("mimetype", b"application/vnd.oasis.opendocument.text")]);
    vec![
        (PNG.to_vec(), "image/png", "a.PNG"),
        (JPEG.to_vec(), "image/jpeg", "a.jpg"),
        (JPEG.to_vec(), "image/jpg", "a.jpeg"),
        (b"GIF89a\x01\0\x01\0\x80\0\0".to_vec(), "image/gif", "a.gif"),
        (riff(*b"WEBP"), "image/webp", "a.webp"),
        (riff(*b"WAVE"), "audio/wav", "a.wav"),
        (riff(*b"AVI "), "video/avi", "a.avi"),
        (
            b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0".to_vec(),
            "image/bmp",
            "a.bmp",
        ),
        (
            b"II*\0\x08\0\0\0\x0e\0\xfe\0".to_vec(),
            "image/tiff",
            "a.tif",
        ),
        (
            b"II*\0\x08\0\0\0\x0e\0\xfe\0".to_vec(),
            "image/x-nikon-nef",
            "a.nef",
        ),
        (b"II*\0\x08\0\0\0\x0e\0\xfe\0".to_vec(), "", "a.DNG"),
        (
            b"\0\0\x01\0\x01\0\x10\x10\0\0".to_vec(),
            "image/x-icon",
            "favicon.ico",
        ),
        (
            b"8BPS\0\x01\0\0\0\0\0\0\0\x03".to_vec(),
            "image/x-photoshop",
            "a.psd",
        ),
        (ftyp(*b"heic"), "image/heic", "IMG_1.HEIC"),
        (ftyp(*b"mif1"), "image/heif", "a.heif"),
        (ftyp(*b"mif2"), "image/heic", "a.heic"),
        (ftyp(*b"heim"), "image/heic", "a.heic"),
        (ftyp(*b"heis"), "image/heic", "a.heic"),
        (ftyp(*b"msf1"), "image/heif-sequence", "a.heifs"),
        (ftyp(*b"hevc"), "image/heic-sequence", "a.heics"),
        (ftyp(*b"hevx"), "image/heic-sequence", "a.heics"),
        (ftyp(*b"hevm"), "image/heic-sequence", "a.heics"),
        (ftyp(*b"hevs"), "image/heic-sequence", "burst.HIF"),
        (ftyp(*b"avif"), "image/avif", "a.avif"),
        (ftyp(*b"avis"), "image/avif-sequence", "a.avifs"),
        (ftyp(*b"crx "), "image/x-canon-cr3", "IMG_1.CR3"),
        (ftyp(*b"isom"), "video/mp4", "a.mp4"),
        (ftyp(*b"mp42"), "video/mp4", "a.mp4"),
        (ftyp(*b"qt  "), "video/quicktime", "a.mov"),
        (ftyp(*b"mp42"), "video/quicktime", "renamed.mov"),
        (ftyp(*b"qt  "), "video/mp4", "renamed.mp4"),
        (ftyp(*b"M4A "), "audio/x-m4a", "a.m4a"),
        (ftyp(*b"M4A "), "audio/mp4", "a.m4b"),
        (ftyp(*b"3gp4"), "video/3gpp", "a.3gp"),
        (ftyp(*b"M4V "), "video/x-m4v", "a.m4v"),
        (ebml(b"webm"), "video/webm", "a.webm"),
        (ebml(b"webm"), "audio/webm", "recording.weba"),
        (ebml(b"matroska"), "video/x-matroska", "a.mkv"),
        (
            b"OggS\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x13OpusHead".to_vec(),
            "audio/ogg",
            "a.opus",
        ),
        (
            b"OggS\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x1e\x01vorbis".to_vec(),
            "video/ogg",
            "a.ogv",
        ),
        (
            b"ID3\x03\0\0\0\0\0\0\xff\xfb\x90\0".to_vec(),
            "audio/mpeg",
            "a.mp3",
        ),
        (b"ID3\x03\0\0\0\0\0\0fLaC".to_vec(), "audio/flac", "a.flac"),
        (b"\xff\xfb\x90\x44\0\0\0\0".to_vec(), "audio/mp3", "a.mp3"),
        (b"\xff\xf1\x50\x80\0\x1f\xfc".to_vec(), "audio/aac", "a.aac"),
        (b"fLaC\0\0\0\x22\x10\0".to_vec(), "audio/x-flac", "a.flac"),
        (
            b"FORM\0\0\0\x2eAIFFCOMM\0".to_vec(),
            "audio/x-aiff",
            "a.aiff",
        ),
        (b"\0\0\x01\xba\x44\0\x04\0".to_vec(), "video/mpeg", "a.mpg"),
        (
            b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n".to_vec(),
            "application/pdf",
            "a.pdf",
        ),
        (
            b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n".to_vec(),
            "application/pdf",
            "a.pdf",
        ),
        (
            b"%PDF-1.5\n%\xe2\xe3\xcf\xd3\n".to_vec(),
            "application/postscript",
            "logo.ai",
        ),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n".to_vec(),
            "application/postscript",
            "a.eps",
        ),
        (
            b"{\\rtf1\\ansi hello}".to_vec(),
            "application/msword",
            "a.doc",
        ),
        (b"{\\rtf1\\ansi hello}".to_vec(), "application/rtf", "a.rtf"),
        (office("word/document.xml"), WORD, "a.docx"),
        (office("xl/workbook.xml"), SHEET, "a.xlsx"),
        (office("docProps/app.xml"), WORD, "a.docx"),
        (
            zip(&[("_rels/.rels", b"")]),
            WORD,
            "first-part-elsewhere.docx",
        ),
        (office("word/document.xml"), "", "a.docx"),
        (office("word/document.xml"), "application/zip", "a.zip"),
        (ole(), WORD, "encrypted.docx"),
        (ole(), "application/msword", "a.doc"),
        (ole(), "application/vnd.ms-excel", "a.xls"),
        (ole(), "application/vnd.ms-powerpoint", "a.ppt"),
        (ole(), "application/vnd.ms-outlook", "a.msg"),
        (ole(), "application/x-msi", "a.msi"),
        (odt, "application/vnd.oasis.opendocument.text", "a.odt"),
        (epub, "application/epub+zip", "a.epub"),
        (
            zip(&[("META-INF/MANIFEST.MF", b"x")]),
            "application/java-archive",
            "a.jar",
        ),
        (
            zip(&[("AndroidManifest.xml", b"x")]),
            "application/vnd.android.package-archive",
            "a.apk",
        ),
        (
            zip(&[("a.txt", b"x")]),
            "application/x-zip-compressed",
            "a.zip",
        ),
        (
            zip(&[("1.jpg", b"x")]),
            "application/vnd.comicbook+zip",
            "a.cbz",
        ),
        (
            b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec(),
            "application/x-gzip",
            "a.tar.gz",
        ),
        (
            b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec(),
            "application/x-compressed-tar",
            "a.tgz",
        ),
        (
            b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec(),
            "image/svg+xml-compressed",
            "a.svgz",
        ),
        (
            b"BZh91AY&SY\0\0".to_vec(),
            "application/x-bzip2",
            "a.tar.bz2",
        ),
        (b"\xfd7zXZ\0\0\x04".to_vec(), "application/x-xz", "a.tar.xz"),
        (
            b"\x28\xb5\x2f\xfd\x04\0".to_vec(),
            "application/zstd",
            "a.tar.zst",
        ),
        (
            b"7z\xbc\xaf\x27\x1c\0\x04".to_vec(),
            "application/x-7z-compressed",
            "a.7z",
        ),
        (
            b"Rar!\x1a\x07\x01\0".to_vec(),
            "application/x-rar-compressed",
            "a.rar",
        ),
        (tar(), "application/x-tar", "a.tar"),
        // Extensions that say little.
        (zip(&[("archive/data.pkl", b"x")]), "", "pytorch_model.bin"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec(), "", "firmware.bin"),
        (b"#!/bin/sh\necho\n".to_vec(), "", "installer.run"),
        (b"what it said\n".to_vec(), "", "a.out"),
        (b"a,b\n".to_vec(), "", "modules.core"),
        (b"module a\n\ngo 1.25\n".to_vec(), "", "go.mod"),
        (b"\x28\xb5\x2f\xfd\x04\0".to_vec(), "", "scene.blend"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec(), "", "scene.blend"),
        (b"ssh-ed25519 AAAA a@b\n".to_vec(), "", "id_ed25519.pub"),
        (
            b"digraph { a -> b }\n".to_vec(),
            "text/vnd.graphviz",
            "a.dot",
        ),
        (exe(), "application/x-msdownload", "setup.exe"),
        (exe(), "application/octet-stream", "a.dll"),
        (exe(), "", ""),
        (ELF.to_vec(), "application/x-sharedlib", "libfoo.so"),
        (ELF.to_vec(), "application/octet-stream", "libfoo.so.6"),
        (ELF.to_vec(), "", "tool-1.2.3"),
        (b"\0asm\x01\0\0\0".to_vec(), "application/wasm", "a.wasm"),
        (
            b"SQLite format 3\0\x10\0".to_vec(),
            "application/vnd.sqlite3",
            "a.db",
        ),
        (b"wOF2\0\x01\0\0\0\0".to_vec(), "font/woff2", "a.woff2"),
        (b"\0\x01\0\0\0\x0c\0\x80".to_vec(), "font/ttf", "a.ttf"),
        (SVG.to_vec(), "image/svg+xml", "a.svg"),
        (BARE_SVG.to_vec(), "image/svg+xml", "a.svg"),
        (HTML.to_vec(), "text/html; charset=utf-8", "a.html"),
        (HTML.to_vec(), "application/xhtml+xml", "a.xhtml"),
        (HTML.to_vec(), "application/vnd.ms-excel", "report.xls"),
        (
            b"<p>no title</p> and so on".to_vec(),
            "text/markdown",
            "README.md",
        ),
        (
            b"<?xml version=\"1.0\"?><rss/>".to_vec(),
            "application/rss+xml",
            "feed.rss",
        ),
        (
            b"<?xml version=\"1.0\"?><gpx/>".to_vec(),
            "application/gpx+xml",
            "tour.gpx",
        ),
        (b"#!/bin/sh\necho\n".to_vec(), "application/x-sh", "a.sh"),
        (
            b"#!/usr/bin/env node\n1\n".to_vec(),
            "text/javascript",
            "a.js",
        ),
        (b"a,b\n1,2\n".to_vec(), "application/vnd.ms-excel", "a.csv"),
        (b"{\"a\":1}".to_vec(), "application/json", "a.json"),
        (b"BMW and MZ\n".to_vec(), "text/plain", "cars.txt"),
        (b"MZ is a magic number\n".to_vec(), "text/plain", "a.txt"),
        (b"a text on %PDF\n".to_vec(), "text/plain", "a.txt"),
        (
            "caf\u{e9} \u{1f600}".as_bytes().to_vec(),
            "text/plain",
            "a.txt",
        ),
        (
            b"-----BEGIN CERTIFICATE-----\nMIIB\n".to_vec(),
            "application/x-x509-ca-cert",
            "a.pem",
        ),
        (b"\xff\xfea\0b\0\n\0".to_vec(), "text/plain", "utf16.txt"),
        (b"\x1b[1mbold\x1b[0m\n".to_vec(), "text/plain", "a.log"),
    ]
}
