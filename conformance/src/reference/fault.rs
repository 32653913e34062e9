//! What the reference server can do wrong, one at a time.

use std::fmt;

/// A mistake of a server. Each MUST has one that makes its case fail, and few others.
///
/// The first four rewrite an answer, in one place (`answer.rs`). Their method is the request's effective one, after a method
/// override; `"*"` is any method, and the one to use for requests that could not be read. The status is the one that a right
/// server gives; 0 is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Answers to a method with a status lack a field: `Without("HEAD", 200, "Upload-Offset")`.
    Without(&'static str, u16, &'static str),
    /// Answers to a method get another status: `Status("PATCH", 409, 400)`. Nothing else about them changes.
    Status(&'static str, u16, u16),
    /// Answers to a method with a status have a field set to something else, or added.
    Field(&'static str, u16, &'static str, &'static str),
    /// Answers to a method lack a member of a list: `Unlisted("OPTIONS", "Tus-Extension", "creation")`.
    Unlisted(&'static str, &'static str, &'static str),
    /// Something that a rewritten answer cannot show.
    Flaw(Flaw),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Without(method, status, field) => write!(f, "{method} {status} without {field}"),
            Self::Status(method, from, to) => write!(f, "{method} {to} instead of {from}"),
            Self::Field(method, status, field, value) => {
                write!(f, "{method} {status} with {field}: {value}")
            }
            Self::Unlisted(method, field, member) => {
                write!(f, "{method} without {member} in {field}")
            }
            Self::Flaw(flaw) => f.write_str(flaw.describe()),
        }
    }
}

/// The list below, as an enum whose variants carry their text.
macro_rules! flaws {
    ($($name:ident: $text:literal,)+) => {
        /// Mistakes in what the server does, rather than in what it says of it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Flaw {
            $(#[doc = concat!("It ", $text, ".")] $name,)+
        }

        impl Flaw {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// What is wrong, for people: it goes on after "the server".
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

flaws! {
    // Versions and methods: core.rs.
    VersionIgnored: "never looks at Tus-Resumable",
    VersionMissingTaken: "takes requests without Tus-Resumable",
    UnsupportedProcessed: "answers an unsupported version with 412, but carries the request out",
    OptionsMindsVersion: "answers OPTIONS with 412 for its Tus-Resumable",
    OptionsWantsVersion: "answers OPTIONS, preflights too, with 412 where Tus-Resumable is missing",
    OverrideIgnored: "ignores X-HTTP-Method-Override",
    OverrideCreates: "creates at each POST to the creation URL, whatever X-HTTP-Method-Override says",
    OverrideKnowsPatchOnly: "knows no method but PATCH in X-HTTP-Method-Override",
    NamesMindCase: "knows field names only as the spec writes them",

    // HEAD and GET: core.rs.
    HeadWaits: "lets HEAD wait for the PATCH that is running",

    HeadWraps: "tells HEAD the offset in 16 bits",
    HeadCompleteUntold: "leaves Upload-Offset out of HEAD of a complete upload",

    // Downloads: download.rs, core.rs.
    RangeShort: "gives one byte less than the range",
    RangeUnitIgnored: "takes any range unit for bytes",
    RangePastEndRefused: "answers ranges that reach past the end with 416",
    RangeReversedTaken: "gives the bytes between the ends of a range that goes backwards",
    IfRangeAlone: "answers If-Range without Range with 412",
    IfModifiedSinceFirst: "answers any If-Modified-Since with 304",
    RangeAtHead: "answers HEAD with 206 where there is a Range",
    IfRangeIgnored: "ignores If-Range",
    IfMatchIgnored: "ignores If-Match",
    IfNoneMatchIgnored: "ignores If-None-Match",
    TagsComparedStrongly: "compares the tags of If-None-Match strongly",

    // PATCH: patch.rs, append.rs.
    MismatchStored: "stores the bytes of a PATCH that it refuses for its offset",
    OffsetMissingTaken: "takes a PATCH without Upload-Offset",
    OffsetMalformedTaken: "takes a malformed Upload-Offset for the number it begins with",
    TypeIgnored: "takes a PATCH of any Content-Type",
    TypeMindsCase: "knows the Content-Type of PATCH in small letters only",
    PatchTellsOld: "tells the old offset in the answer to PATCH",
    PatchTellsMore: "tells one byte more than it has in the answer to PATCH",
    EmptyPatchRefused: "refuses an empty PATCH at the offset",
    SurplusTaken: "takes bytes past the length",
    CutLost: "keeps nothing of a cut body",
    CutCounted: "counts bytes of a cut body that never came",
    TakeoverRefused: "answers 423 while a PATCH hangs",
    SeveralWin: "lets several PATCHes win at one offset",
    SecondPatchRefused: "takes one PATCH an upload, and answers the next one with 403",
    BigPatchRefused: "answers PATCHes of over 1 MiB with 413",

    // Creation: creation.rs.
    LocationUseless: "names an unknown upload in Location where the metadata has a file name",
    LocationShared: "names the same upload to all who create with the same metadata",
    LengthMalformedTaken: "takes a malformed Upload-Length for the number it begins with",
    LengthMissingTaken: "takes a creation without any length for one that defers it",
    LengthTwiceTaken: "takes Upload-Length and Upload-Defer-Length together",
    DeferOtherTaken: "takes any Upload-Defer-Length for 1",
    MaxIgnored: "creates uploads that are longer than Tus-Max-Size",
    MaxRefusedExactly: "refuses an upload of just Tus-Max-Size",
    EmptyNeverComplete: "never takes an upload of length 0 for complete",
    BodyDropped: "drops the bytes that come with a creation, and acknowledges them",
    BodyUntold: "stores the bytes that come with a creation, and tells offset 0",
    BodyTypeIgnored: "takes a body of any Content-Type at creation",
    BodySurplusTaken: "takes more bytes than the length at creation",
    BodyPartDropped: "drops the bytes that come with a creation unless they are all, and acknowledges them",
    DeferredBodyRefused: "refuses bytes that come with a creation that defers the length",
    EmptyRefused: "refuses an upload of length 0",
    LengthTruncated: "keeps the low 16 bits of Upload-Length",
    NewWantsHead: "takes no PATCH of an upload with metadata before its first HEAD",

    // Deferred lengths: patch.rs, append.rs, core.rs.
    DeferredPastMax: "takes bytes past Tus-Max-Size where the length is deferred",
    DeclaredPastMax: "lets a length past Tus-Max-Size be declared",
    DeclaredIgnored: "ignores the length that a PATCH declares",
    DeclaredChanges: "lets a declared length be changed",
    LengthChanges: "lets the length that an upload was created with be changed",
    DeclaredTooShort: "lets a length below the offset be declared",
    DeclaredMalformedTaken: "takes a malformed Upload-Length of a PATCH for the number it begins with",
    DeclaredRefusedKept: "keeps the length declared by a PATCH that it refuses",
    DeferStays: "goes on with Upload-Defer-Length: 1 once the length is known",
    DeferRefused: "refuses to create without a length",
    DeferredBytesRefused: "takes no bytes before the length is declared",
    DeclaredWantsBytes: "ignores the length that an empty PATCH declares",

    // Metadata: metadata.rs.
    MetadataLossy: "puts U+FFFD where metadata is not UTF-8",
    MetadataAscii: "drops values of metadata that are not ASCII",
    MetadataSorted: "gives metadata back in another order",
    MetadataReformed: "gives metadata back in another form",
    MetadataEmptyDropped: "drops keys of metadata that have no value",
    MetadataEmptyRefused: "refuses a key of metadata without a value",
    MetadataKeyTwiceTaken: "takes a key of metadata twice",
    MetadataKeyEmptyTaken: "takes an empty key of metadata",
    MetadataBadBase64Taken: "takes metadata that is not Base64",
    MetadataOnePair: "keeps the first pair of metadata alone",
    MetadataEmptyTold: "tells an empty Upload-Metadata where there is none",
    MetadataBlankTaken: "takes a key of metadata with a blank",
    MetadataSmuggled: "writes a name from the metadata into a field as it is",

    // Expiration: store.rs.
    ExpiredServed: "serves uploads on after Upload-Expires",
    ExpiredPatched: "answers HEAD of an expired upload with 410, but takes a PATCH",
    ExpiresEarly: "removes uploads before Upload-Expires",
    FinishedExpires: "removes finished uploads too",

    // Checksums: checksum.rs, patch.rs, append.rs.
    ChecksumIgnored: "never verifies Upload-Checksum",
    ChecksumMismatchStored: "answers a wrong sum with 460, but keeps the bytes",
    ChecksumUnknownTaken: "takes an unknown algorithm without a check",
    ChecksumUnknownStored: "answers an unknown algorithm with 400, but stores the bytes",
    ChecksumMalformedTaken: "takes a malformed Upload-Checksum without a check",
    ChecksumOfUpload: "checks the sum of the whole upload instead of the request's",
    ChecksumGoodDropped: "acknowledges bytes with a right sum, and drops them",
    ChecksumCutKept: "keeps the bytes of a cut body under a checksum",
    ChecksumLive: "counts the bytes under a checksum before its verdict",
    ChecksumOthersUnverified: "verifies no algorithm but sha1",
    ChecksumMismatchRewinds: "forgets the bytes before the ones with a wrong sum, too",
    ChecksumEmptyIgnored: "does not verify the sum of an empty body",
    ChecksumWantedOn: "refuses bytes without a sum once there were some with one",
    Sha1Unknown: "does not know sha1",
    AnnouncedUnknown: "does not know the last algorithm that it announces",
    TrailerIgnored: "ignores a checksum in the trailer",
    TrailerMismatchStored: "answers a wrong sum in the trailer with 460, but keeps the bytes",
    TrailerUnknownStored: "answers an unknown algorithm in the trailer with 400, but keeps the bytes",
    TrailerRefused: "refuses bodies that announce a trailer",
    TrailerMerged: "takes the fields of a trailer for those of the head",

    // Termination: core.rs.
    DeleteOnlySays: "acknowledges DELETE, and does nothing",
    DeleteFinishedRefused: "refuses DELETE of a finished upload",
    DeleteUnfinishedRefused: "refuses DELETE of an unfinished upload",
    DeletedPatched: "answers HEAD of a deleted upload with 404, but takes a PATCH",
    DeletedServed: "gives a deleted upload's bytes on at GET",
    DeleteWaits: "refuses DELETE while a PATCH is running",

    // Concatenation: concat.rs, patch.rs, core.rs.
    ConcatTwiceRefused: "refuses a part that is named twice in one request",
    ConcatUsedRefused: "refuses a part that another final upload has",
    ConcatMetadataInherited: "gives the parts' metadata to the final upload",
    ConcatLengthTaken: "takes Upload-Length at the creation of a final upload",
    ConcatLengthWrong: "tells a final upload's length one byte short",
    ConcatUnknownTaken: "leaves out unknown parts of a final upload",
    ConcatWholeTaken: "takes uploads that are not partial for parts",
    ConcatMalformedTaken: "takes any other Upload-Concat for a plain upload",
    ConcatAbsoluteRefused: "refuses parts named by absolute URLs",
    ConcatPathRefused: "refuses parts named by paths",
    ConcatRewritten: "gives Upload-Concat back in another form",
    FinalPatchStored: "answers PATCH to a final upload with 403, but appends the bytes",
    FinalPatchSpoilsParts: "answers PATCH to a final upload with 403, but modifies its parts",
    UnfinishedRefused: "refuses a final upload whose parts are not finished",
    UnfinishedForever: "never finishes a final upload that came before its parts were finished",
    UnfinishedClaimed: "tells offset = length of a final upload whose parts are not finished",
    UnfinishedUntold: "does not tell a waiting final upload's length, though all parts have theirs",

    ConcatPartialRefused: "refuses partial uploads",
    FinalNotCreated: "answers the creation of a final upload with 200, though it has created it",
    ConcatFew: "joins no more than 4 parts",
    ConcatByCreation: "joins the parts in the order of their creation",
    ConcatByCompletion: "joins the parts in the order in which they were finished",
    PartsOneByOne: "answers 423 to PATCH of a partial upload while another one is being written",
    ConcatPastMax: "joins parts to more than Tus-Max-Size",
    FinalMetadataDropped: "forgets a final upload's own metadata",
    FinalOffsetUntold: "never tells a final upload's offset",
    FinalOffsetZero: "tells offset 0 of a final upload that is finished",
    PartialOffsetUntold: "never tells a partial upload's offset",
    PlainToldPartial: "tells of plain uploads that they are partial",
    ConcatCarelessTaken: "takes a final upload's list behind any separator",
    DeleteFinalRefused: "refuses DELETE of final uploads",
    ConcatNameRefused: "refuses parts named relative to the creation URL",
    ConcatDecoded: "decodes percent signs in Upload-Concat before it looks for spaces",
    ConcatForeignTaken: "takes parts on any host for its own",
    ConcatUserinfoTaken: "takes parts whose URLs have a user and a password",
    ConcatDeletedTaken: "leaves out the parts of a final upload that were deleted",
    FinalNeedsParts: "loses a final upload's bytes when one of its parts is deleted",
    ConcatTakesParts: "takes the bytes of an older final upload when a part is used again",
    ConcatRefusedEats: "loses the parts that a refused final upload named",
    PartialBodyDropped: "drops the bytes that come with the creation of a partial upload",
    ChecksumPartialIgnored: "verifies no checksum of partial uploads",
    DeferredSumUntold: "does not tell a waiting final upload's length once it is declared",
    UnfinishedPatched: "takes a PATCH to a final upload that waits for its parts",
    UnfinishedWithoutDeleted: "finishes a waiting final upload without the parts that were deleted",
    UnfinishedUndeletable: "refuses DELETE of a final upload that waits for its parts",

    // CORS: cors.rs.
    PreflightRefused: "answers preflights with 403",
    PreflightAtEndpointOnly: "answers preflights of uploads with 404",
    PreflightKnowsUploads: "answers preflights of unknown uploads with 404",
    PreflightWantsBlanks: "allows nothing of a list of headers without blanks",
    AllowedHeadersSpoiled: "lists names with blanks among the allowed headers",
    ExposedHeadersSpoiled: "lists names with blanks among the exposed headers",
    CredentialsWithAny: "allows credentials, and everything else by `*`",
    OriginTakenForPreflight: "says nothing of tus to OPTIONS with an Origin",
    VaryWithOriginOnly: "says Vary: Origin only to those that have one",

    // The request's head: request.rs.
    LengthAndCodingTaken: "takes Content-Length and Transfer-Encoding together, as chunked",
    LengthAndCodingByLength: "takes Content-Length and Transfer-Encoding together, by the length",
    LengthsDifferTaken: "takes the first of differing Content-Lengths",
    ContentLengthMalformedTaken: "takes a malformed Content-Length for the number it begins with",
    CodingUnknownTaken: "ignores an unknown transfer coding",
    CodingMindsCase: "knows chunked in small letters only",
    HostMissingTaken: "takes HTTP/1.1 without Host",
    HostInvalidTaken: "takes any value of Host",
    HostTwiceTaken: "takes two Host fields",
    FoldTaken: "joins folded lines without a blank",
    BlankBeforeColonTaken: "takes a blank before the colon",
    NulTaken: "drops control characters out of values",
    GarbageDropped: "closes without a word on what is not HTTP",
    AbsoluteFormHost: "uses Host, and not the target, where the target is absolute",
    AbsoluteFormRefused: "does not know request targets in absolute form",
    MethodAnyCase: "knows methods in small letters too",
    LeadingBlankTaken: "takes a line that begins with a blank for the first field",
    BareReturnDropped: "drops bare carriage returns",
    LargeHeadDropped: "closes without a word on large heads",
    HeadCutTaken: "carries out requests whose head was cut",
    CodingIn10Kept: "takes chunked bodies of HTTP/1.0, and leaves the connection open",
    LengthsAdded: "adds up repeated Content-Lengths",
    LengthWanted: "answers a POST without Content-Length and body with 411",
    LeadingLineRefused: "refuses an empty line before the request",

    // What is hostile in a head: hostile.rs.
    NamesAboveFound: "finds an upload of 5 bytes where a name leads up",
    NamesOfControlsFail: "fails with 500 at names with escaped control characters",
    NamesTooLongFail: "fails with 500 at names of more than 255 letters",
    NamesMindEncoding: "knows an upload only by the URL that it gave out",
    MistakeFails: "fails with 500 at POST to an upload",
    LengthWraps: "takes Upload-Length modulo 2^64",
    OffsetWraps: "takes Upload-Offset modulo 2^32",
    TwiceFirstTaken: "takes the first of repeated fields",
    ObsTextRefused: "refuses fields of other than ASCII",
    BlanksCount: "takes blanks around a value for a part of it",
    FilenameAsItIs: "puts the file name of the metadata into Content-Disposition as it is",

    // Bodies: body.rs.
    ChunkSizeMalformedTaken: "takes a malformed chunk size for the number it begins with",
    ChunkEndIgnored: "does not look at what stands after a chunk's bytes",
    ChunkExtensionRefused: "refuses chunk extensions",
    ChunksStored: "stores the framing of chunks as if it were content",
    ChunkedRefused: "answers chunked bodies with 411",
    TrailersUnread: "takes trailers for the next request",
    ChunkSizeWraps: "reads chunk sizes in 32 bits",
    ChunkedCutTaken: "takes a chunked body that was cut between chunks for a whole one",
    CutKeptOpen: "leaves the connection open after a body that was cut",
    ContinueOnly: "says nothing after 100 Continue",
    ContinueBodyMissed: "misses the content that came before its 100 Continue",
    ExpectMindsCase: "knows 100-continue in small letters only",
    NoContinue: "never sends 100 Continue",
    ContinueAlways: "sends 100 Continue before it looks at the request",
    Continue10: "sends 100 Continue to HTTP/1.0",

    // Answers and connections: connection.rs.
    BodyWithHead: "sends a body with answers to HEAD",
    BodyWith204: "sends a body with 204",
    LengthWith204: "sends Content-Length with 204",
    UnreadParsed: "takes the unread body of a refused request for the next request",
    ClosesUnsaid: "closes each connection without saying so",
    ClosesNever: "leaves connections open that the client wanted closed",
    CloseMindsCase: "knows close in small letters only",
    EmptyMembersMinded: "looks no further than the first member of Connection, were it empty",
    CodingFor10: "answers HTTP/1.0 with Transfer-Encoding",
    ClosesNever10: "leaves connections of HTTP/1.0 open",
    PipelineDropped: "drops requests that came before the answer to the first",
    PipelineReversed: "answers two requests that came together in the wrong order",
    AnswersHttp10: "calls its answers HTTP/1.0",
}
