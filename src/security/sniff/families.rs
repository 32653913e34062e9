//! Which types may stand for one another: a container and what is made of it, names of one thing, and what programs mix up.

/// Types that are not told apart. A type may be in several families; `*` at an end stands for anything.
pub(super) struct Family {
    /// Media types, between blanks: those that first bytes tell, and those that clients declare.
    types: &'static str,
    /// Extensions of file names. One that anything may have, as `bin`, is of none.
    extensions: &'static str,
}

/// What the first bytes of many formats look like: which one it is tells only who declares it.
pub(super) const VAGUE: &[&str] = &[
    "text/plain",
    "text/xml",
    "application/zip",
    "application/x-ole-storage",
    "application/gzip",
    "video/mp4",
    "video/x-matroska",
    "audio/ogg",
    "audio/mpeg",
    "image/tiff",
    "image/heif",
];

/// What is declared as one of these is not declared.
pub(super) const NOTHING: &[&str] = &[
    "",
    "application/octet-stream",
    "binary/octet-stream",
    "application/x-binary",
    "application/unknown",
    "application/x-unknown",
    "application/force-download",
    "application/x-download",
];

/// Programs: whatever is declared, they are never taken for something else, not even where the declared type is not known here.
pub(super) const PROGRAMS: &[&str] = &[
    "application/vnd.microsoft.portable-executable",
    "application/x-executable",
    "application/x-mach-binary",
    "application/vnd.android.dex",
    "application/vnd.android.dey",
];

/// What a few bytes settle: nothing that follows them makes another format of it.
pub(super) const SETTLED: &[&str] = &["application/pdf", "image/png", "image/jpeg", "image/gif"];

const fn family(types: &'static str, extensions: &'static str) -> Family {
    Family { types, extensions }
}

pub(super) const FAMILIES: &[Family] = &[
    // Everything that can be read as text: of it only markup, scripts and keys are recognized.
    family(
        "text/* message/* *+xml *+json *+yaml application/json application/x-ndjson application/xml \
         application/xml-dtd application/javascript application/x-javascript application/ecmascript \
         application/typescript application/x-typescript application/x-sh application/x-shellscript \
         application/x-csh application/x-perl application/x-php application/x-httpd-php application/x-python \
         application/x-python-code application/x-ruby application/yaml application/x-yaml application/toml \
         application/sql application/x-sql application/csv application/x-tex application/x-latex \
         application/x-subrip application/vnd.apple.mpegurl application/x-mpegurl audio/mpegurl \
         audio/x-mpegurl audio/x-scpls application/vnd.ms-excel application/msword application/rtf \
         application/x-x509-ca-cert application/pkix-cert application/pem-certificate-chain \
         application/pgp-keys application/pgp-signature application/pgp-encrypted application/x-pem-file \
         application/json5 application/jsonl application/x-jsonlines application/n-triples application/n-quads \
         application/sparql-query application/x-bat application/x-msdos-batch application/x-powershell \
         application/x-awk application/x-lua application/x-texinfo application/x-troff application/x-bibtex \
         application/x-desktop application/x-cue application/x-mswinurl application/hta application/x-pkcs8 \
         application/pkcs8 application/pkcs10 application/pkix-crl application/x-x509-user-cert \
         application/graphql application/mbox application/dxf image/vnd.dxf image/x-xpixmap image/x-xbitmap \
         image/x-portable-pixmap image/x-portable-anymap model/obj model/stl model/step model/iges model/vrml",
        "txt text log md markdown rst adoc csv tsv json ndjson jsonl geojson gltf xml xsd xsl xslt svg html \
         htm xhtml shtml mht mhtml rss atom kml gpx js mjs cjs ts tsx jsx vue css scss less php sh bash zsh \
         fish bat cmd ps1 py rb pl lua r c h cc cpp hpp cs java kt go rs swift sql yaml yml toml ini cfg conf \
         env properties tex bib srt vtt ass ssa lrc m3u m3u8 pls eml mbox ics vcf pem crt cer key csr asc dxf \
         obj mtl stl step stp igs iges wrl xpm xbm ppm pgm pbm diff patch po rtf doc xls dtd xaml plist ipynb \
         drawio url desktop reg vbs hta xhtm opml jnlp fodt fods pub dot",
    ),
    family(
        "*+zip application/zip application/x-zip application/x-zip-compressed application/zip-compressed \
         application/x-compressed application/vnd.openxmlformats-officedocument.* \
         application/vnd.oasis.opendocument.* application/vnd.sun.xml.* application/vnd.ms-word.* \
         application/vnd.ms-excel.* application/vnd.ms-powerpoint.* application/vnd.ms-visio.* \
         application/vnd.visio2013 application/vnd.ms-xpsdocument application/oxps application/vnd.apple.* \
         application/x-iwork-* application/java-archive application/x-java-archive \
         application/vnd.android.package-archive application/x-ios-app application/x-xpinstall \
         application/x-chrome-extension application/vnd.google-earth.kmz application/x-cbz \
         application/vnd.ms-appx application/vnd.ms-package.3dmanufacturing-3dmodel+xml application/x-wheel \
         application/x-krita application/x-fictionbook application/vnd.adobe.xd \
         application/vnd.recordare.musicxml image/openraster model/3mf model/vnd.usdz+zip",
        "zip docx docm dotx dotm xlsx xlsm xltx xltm xlsb pptx pptm potx potm ppsx ppsm vsdx vsdm odt ods odp \
         odg odf odb ott ots otp sxw sxc sxi epub jar war ear aar apk aab ipa xpi crx kmz cbz appx msix whl \
         nupkg vsix 3mf usdz ora kra sketch xd pages numbers key mxl xps oxps egg hwpx fb2 scratch sb3 mscz \
         ggb mpp",
    ),
    // Compound files: old office formats, installers, mail. Encrypted new office documents are such, too.
    family(
        "application/x-ole-storage application/msword* application/vnd.ms-* application/vnd.visio \
         application/x-msi application/x-windows-installer application/x-msg application/x-hwp \
         application/haansofthwp application/x-mspublisher application/mspowerpoint application/powerpoint \
         application/excel application/x-excel application/x-msexcel \
         application/vnd.openxmlformats-officedocument.* image/vnd.fpx",
        "doc dot xls xlt xla xlm ppt pot pps ppa msi msp mst msg vsd vst vss pub mpp hwp fpx max docx xlsx \
         xlsm pptx db wps wdb one",
    ),
    // What office programs export under the old names.
    family(
        "application/msword application/rtf text/rtf application/x-rtf text/html text/xml",
        "doc rtf dot html xml",
    ),
    family(
        "application/vnd.ms-excel text/html text/xml",
        "xls html xml",
    ),
    family(
        "application/pdf application/x-pdf application/postscript application/acrobat application/illustrator \
         application/vnd.adobe.illustrator application/vnd.fdf",
        "pdf ai fdf",
    ),
    family(
        "application/postscript application/eps application/x-eps image/eps image/x-eps \
         application/illustrator application/vnd.adobe.illustrator application/x-font-type1",
        "ps eps epsf ai pfa pfb",
    ),
    // ISO base media: the brand in the first box is the writer's choice.
    family(
        "video/mp4 video/x-m4v video/quicktime video/x-quicktime video/3gpp video/3gpp2 video/mj2 \
         video/iso.segment application/mp4 audio/mp4 audio/m4a audio/x-m4a audio/x-m4b audio/3gpp audio/3gpp2 \
         audio/aac audio/aacp audio/x-aac audio/vnd.audible.aax",
        "mp4 m4v m4a m4b m4p m4r m4s mov qt 3gp 3g2 3gpp f4v aac mj2 insv lrv aax",
    ),
    family(
        "image/heif image/heic image/heif-sequence image/heic-sequence image/avif image/avif-sequence",
        "heif heic heifs heics hif avif avifs",
    ),
    family(
        "video/x-matroska video/matroska audio/x-matroska audio/matroska video/webm audio/webm \
         video/x-matroska-3d",
        "mkv mka mk3d mks webm weba",
    ),
    family(
        "application/ogg application/x-ogg audio/ogg audio/x-ogg audio/vorbis audio/x-vorbis+ogg audio/opus \
         audio/speex audio/flac audio/x-flac video/ogg video/x-ogm video/x-theora",
        "ogg oga ogv ogx ogm opus spx flac",
    ),
    // Sound in frames, behind tags that all of them may have.
    family(
        "audio/mpeg audio/mpeg3 audio/mp3 audio/x-mp3 audio/x-mpeg audio/x-mpeg-3 audio/mpa audio/aac \
         audio/aacp audio/x-aac audio/x-hx-aac-adts audio/flac audio/x-flac audio/x-ape audio/x-tta \
         audio/x-dsf video/mpeg",
        "mp3 mp2 mp1 mpa aac flac ape tta dsf",
    ),
    family(
        "video/mpeg video/mpg video/x-mpeg video/mp2p video/mp2t video/dvd video/x-ms-vob \
         video/vnd.dlna.mpeg-tts audio/mpeg",
        "mpg mpeg mpe m1v m2v vob tod ts mts m2ts m2t evo",
    ),
    family(
        "audio/wav audio/x-wav audio/wave audio/vnd.wave audio/x-pn-wav",
        "wav wave bwf rf64",
    ),
    family(
        "video/x-msvideo video/avi video/msvideo video/vnd.avi",
        "avi divx xvid",
    ),
    family(
        "video/x-ms-wmv video/x-ms-asf audio/x-ms-wma application/vnd.ms-asf video/x-ms-wm",
        "wmv wma asf wm dvr-ms",
    ),
    family("video/x-flv video/flv", "flv"),
    family("audio/x-aiff audio/aiff audio/x-aifc", "aif aiff aifc"),
    family(
        "audio/midi audio/x-midi audio/mid application/x-midi",
        "mid midi kar rmi",
    ),
    family("audio/amr audio/amr-wb audio/3gpp", "amr awb 3ga"),
    family(
        "image/jpeg image/jpg image/pjpeg image/jfif image/mpo",
        "jpg jpeg jpe jfif jif mpo thm",
    ),
    family(
        "image/png image/x-png image/apng image/vnd.mozilla.apng",
        "png apng",
    ),
    family("image/gif", "gif"),
    family("image/webp", "webp"),
    family(
        "image/bmp image/x-bmp image/x-ms-bmp image/x-windows-bmp",
        "bmp dib",
    ),
    family(
        "image/vnd.microsoft.icon image/x-icon image/ico image/icon",
        "ico cur",
    ),
    // Raw pictures of most cameras are TIFF inside.
    family(
        "image/tiff* image/tif image/x-tiff image/geotiff image/dng image/x-adobe-dng image/x-canon-cr2 \
         image/x-nikon-* image/x-sony-* image/x-pentax-* image/x-kodak-* image/x-epson-* image/x-phaseone-* \
         image/x-hasselblad-* image/x-leica-* image/x-leaf-* image/x-mamiya-* image/x-samsung-* \
         image/x-dcraw image/x-raw image/vnd.ms-photo image/jxr",
        "tif tiff gtiff dng cr2 nef nrw arw sr2 srf pef dcr kdc erf iiq 3fr raw jxr wdp hdp",
    ),
    family(
        "image/vnd.adobe.photoshop image/x-photoshop image/psd application/photoshop application/x-photoshop \
         application/psd",
        "psd psb pdd",
    ),
    family(
        "image/jp2 image/jpx image/jpm image/j2k image/x-jp2",
        "jp2 jpf jpx jpm j2k j2c",
    ),
    family("image/x-canon-cr3 image/x-dcraw image/x-raw", "cr3 raw"),
    family("image/jxl", "jxl"),
    family("image/vnd.djvu image/x-djvu image/x.djvu", "djvu djv"),
    family(
        "image/vnd.dwg image/x-dwg application/acad application/x-dwg",
        "dwg dwt dws",
    ),
    family(
        "application/gzip application/x-gzip application/gzip-compressed application/x-compressed \
         application/x-compressed-tar application/x-gtar application/x-gtar-compressed application/x-tar \
         application/x-tgz image/svg+xml* application/x-abiword",
        "gz tgz taz svgz emz vgz abw dia blend nii",
    ),
    family(
        "application/x-bzip2 application/x-bzip application/bzip2 application/x-bzip-compressed-tar \
         application/x-bzip2-compressed-tar application/x-tar",
        "bz2 bz tbz tbz2 dmg",
    ),
    family(
        "application/x-xz application/x-xz-compressed-tar application/x-tar",
        "xz txz",
    ),
    family(
        "application/zstd application/x-zstd application/x-tar",
        "zst zstd tzst blend",
    ),
    family(
        "application/x-lz4 application/x-tar application/x-lzip",
        "lz4 lz tlz",
    ),
    family(
        "application/x-compress application/x-compressed application/x-tar",
        "z taz",
    ),
    family(
        "application/x-tar application/tar application/x-gtar application/x-ustar \
         application/x-virtualbox-ova application/x-cbt",
        "tar ova gem cbt oci",
    ),
    family(
        "application/vnd.rar application/x-rar application/x-rar-compressed application/rar \
         application/vnd.comicbook-rar application/x-cbr",
        "rar cbr",
    ),
    family(
        "application/x-7z-compressed application/7z application/x-7z application/x-cb7",
        "7z cb7",
    ),
    family(
        "application/x-unix-archive application/x-archive application/vnd.debian.binary-package \
         application/x-debian-package application/x-deb",
        "ar a deb udeb lib",
    ),
    family(
        "application/x-rpm application/x-redhat-package-manager",
        "rpm",
    ),
    family(
        "application/vnd.ms-cab-compressed application/x-cab",
        "cab msu",
    ),
    family("application/x-cpio", "cpio"),
    family(
        "application/vnd.sqlite3 application/x-sqlite3 application/geopackage+sqlite3",
        "sqlite sqlite3 db db3 gpkg mbtiles",
    ),
    family(
        "application/font-woff application/font-woff2 font/woff font/woff2 application/x-font-woff",
        "woff woff2",
    ),
    family(
        "application/font-sfnt font/ttf font/otf font/sfnt font/collection application/x-font-* \
         application/vnd.ms-opentype",
        "ttf otf ttc otc",
    ),
    // Programs. The first bytes of Java's classes are those of Apple's programs for several processors.
    family(
        "application/vnd.microsoft.portable-executable application/x-msdownload application/x-msdos-program \
         application/x-dosexec application/x-ms-dos-executable application/x-exe application/exe \
         application/x-winexe",
        "exe dll scr sys ocx cpl drv com efi mui ax acm pyd xll winmd",
    ),
    family(
        "application/x-executable application/x-elf application/x-sharedlib application/x-pie-executable \
         application/x-object application/x-core application/vnd.appimage application/x-iso9660-appimage",
        "elf so o ko appimage axf prx obj",
    ),
    family(
        "application/x-mach-binary application/java application/java-vm application/x-java \
         application/x-java-class",
        "class dylib bundle macho o kext",
    ),
    family("application/wasm", "wasm"),
    family(
        "application/vnd.android.dex application/vnd.android.dey",
        "dex odex dey",
    ),
    family(
        "application/x-shockwave-flash application/vnd.adobe.flash.movie",
        "swf",
    ),
    family("application/dicom", "dcm dicom"),
    family(
        "application/x-mobipocket-ebook application/vnd.amazon.ebook",
        "mobi azw azw3 prc",
    ),
];

impl Family {
    /// Whether a media type is of it.
    pub(super) fn has_type(&self, media: &str) -> bool {
        self.types.split(' ').any(|pattern| fits(pattern, media))
    }

    /// Whether an extension is of it.
    pub(super) fn has_extension(&self, extension: &str) -> bool {
        self.extensions.split(' ').any(|known| known == extension)
    }
}

fn fits(pattern: &str, media: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), _) => media.ends_with(end),
        (None, Some(begin)) => media.starts_with(begin),
        (None, None) => pattern == media,
    }
}
