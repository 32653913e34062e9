/**
 * What can go wrong, in words for the person before the screen, and what follows from it.
 * @module
 */

const AGAIN = 'again'; // it is tried again by itself
const ASK = 'ask'; // somebody has to do something, and then it goes on where it was
const ANEW = 'anew'; // this session is of no use any more; a further try begins with a new one

const busy = 'Nothing is lost. It is tried again by itself; there is nothing to do.';
const resend = 'What was damaged is sent again by itself; there is nothing to do.';
const report = 'Press Retry. If it fails again, tell whoever runs this server, with the code below.';
const anew = 'Press Retry to send the file again from its beginning.';
const defect = 'This is a defect, or a server of another version. Reload the page and choose the file again; it goes on where it was.';

/** By code: what follows, a title, and advice. */
const TABLE = {
  // Of this side.
  'offline': [AGAIN, 'You are offline', 'The upload goes on by itself as soon as this device is connected again.'],
  'network': [AGAIN, 'The server cannot be reached', 'Nothing is lost. It is tried again by itself. If this lasts, check your connection.'],
  'timeout': [AGAIN, 'The connection has stalled', 'Nothing is lost. It is tried again by itself. If this lasts, check your connection.'],
  'server-busy': [AGAIN, 'The server is busy', busy],
  'unreadable': [ASK, 'The file cannot be read', 'It was moved, renamed, changed or its drive was removed. Choose it again; if it has not changed, it goes on where it was.'],
  'another-file': [ASK, 'This is another file', 'Choose the file with which this upload began, or remove the upload and begin a new one.'],
  'unexpected': [ASK, 'The server gave an answer that is not understood', 'Something between you and the server may have answered in its place, such as the login page of a network. Check that, then press Retry.'],
  'failed-here': [ASK, 'Something went wrong in this page', report],

  // The file is not one for this server.
  'too-large': [ASK, 'The file is too large', 'This server does not take files of that size. Ask whoever runs it for a higher limit, or split the file.'],
  'too-small': [ASK, 'The file is too small', 'This server takes only larger files. Ask whoever runs it for the least size.'],
  'too-many-chunks': [ASK, 'The file has too many chunks', 'Use larger chunks, or ask whoever runs this server.'],
  'chunk-size': [ASK, 'The server does not take chunks of this size', 'Ask whoever runs this server which sizes it takes.'],
  'bad-json': [ASK, 'The server does not take the name or the details of this file', 'Rename the file to a shorter name without special characters, and choose it again.'],
  'json-too-large': [ASK, 'The name or the details of this file are too long', 'Rename the file to a shorter name, and choose it again.'],

  // The server has no room.
  'disk-low': [ASK, 'The server has no space left for new files', 'Nothing was begun. Try again later, or tell whoever runs this server that its disk is nearly full.'],
  'out-of-space': [ASK, 'The disk of the server is full', 'What was sent is kept. Tell whoever runs this server; once there is space, press Retry to go on.'],
  'quota-exceeded': [ASK, 'There is no room left for this file', 'What you may store is used up. Remove uploads that you do not need, or ask whoever runs this server for more; then press Retry.'],
  'type-not-allowed': [ASK, 'The server does not take files of this kind', 'Ask whoever runs it which kinds it takes.'],
  'bad-name': [ASK, 'The server does not take the name of this file', 'Rename the file to a plain name with one extension, and choose it again.'],
  'upload-rejected': [ASK, 'The server has refused this file', 'Ask whoever runs it why.'],
  'access-rejected': [ASK, 'The server has refused you', 'Ask whoever runs it why.'],

  // The session is gone.
  'expired': [ANEW, 'The upload has expired', `It was left unfinished for too long, and the server has removed it. ${anew}`],
  'not-found': [ANEW, 'The server does not know this upload any more', `It was cancelled or removed there. ${anew}`],
  'upload-stopped': [ANEW, 'The server has stopped this upload', `Ask whoever runs it why. ${anew}`],
  'cancelled': [ANEW, 'The upload was cancelled on the server', anew],
  'blob-lost': [ANEW, 'The server has lost what was sent', `Its disk may be damaged; tell whoever runs it. ${anew}`],
  'disk-fault': [ANEW, 'The disk of the server is damaged', `Tell whoever runs it. ${anew}`],
  'part-gone': [ANEW, 'A part of the upload is gone', anew],
  'parts-too-large': [ANEW, 'The upload became larger than it may be', anew],
  'parts-too-small': [ANEW, 'The upload is smaller than it must be', anew],
  'record-damaged': [ANEW, 'The record of this upload is damaged on the server', `Tell whoever runs it. ${anew}`],
  'file-hash-mismatch': [ANEW, 'The file that arrived is not the one that was announced', `It was changed while it was sent, or damaged on its way. ${anew}`],
  'type-mismatch': [ANEW, 'The file is not what its name or type says', 'Open it to see what it is, and rename it; or ask whoever runs this server which kinds of files it takes.'],
  'malware-found': [ANEW, 'Malware was found in this file', 'The server has refused it and keeps nothing of it for you. Do not open it; have this device checked.'],
  'unscanned': [ANEW, 'The server could not check this file for malware', 'What it cannot check it refuses. Ask whoever runs it, or try again later.'],
  'chunk-differs': [ANEW, 'The file has changed since this upload began', `Parts of the earlier content are on the server already. ${anew}`],
  'already-complete': [ANEW, 'This upload is complete already', anew],

  // What it overcomes by itself.
  'body-cut': [AGAIN, 'The connection broke', busy],
  'chunk-too-short': [AGAIN, 'The connection broke', busy],
  'checksum-mismatch': [AGAIN, 'A part arrived damaged', resend],
  'chunks-missing': [AGAIN, 'Parts are missing on the server', resend],
  'offset-mismatch': [AGAIN, 'The server has another part than expected', resend],
  'too-many-waiting': [AGAIN, 'The server is busy with other parts of this file', busy],
  'rate-limited': [AGAIN, 'The server wants you to go slower', busy],
  'too-many-open': [AGAIN, 'There are as many unfinished uploads as the server allows', 'It is tried again by itself, as soon as another one is finished.'],
  'hook-down': [AGAIN, 'The server is waiting for another one', busy],
  'hook-failed': [AGAIN, 'The server is waiting for another one', busy],
  'taken-over': [AGAIN, 'This part is sent by another window', busy],
  'locked': [AGAIN, 'The server is busy with this part', busy],
  'shutting-down': [AGAIN, 'The server is restarting', busy],
  'idle-body': [AGAIN, 'The connection was silent for too long', busy],
  'storage': [AGAIN, 'The server cannot write to its disk', 'It is tried again by itself. If this lasts, tell whoever runs this server.'],
  'state': [AGAIN, 'The server cannot write to its database', 'It is tried again by itself. If this lasts, tell whoever runs this server.'],
  'internal': [AGAIN, 'The server made a mistake', 'It is tried again by itself. If this lasts, tell whoever runs this server.'],

  // Who, and where.
  'unauthorized': [ASK, 'The server wants to know who you are', 'Show a token that it takes; whoever runs it gives you one. Then press Retry.'],
  'token-required': [ANEW, 'The key to this upload is missing', anew],
  'disabled': [ASK, 'This is switched off on this server', 'Ask whoever runs this server.'],
  'foreign-origin': [ASK, 'This page may not use that server', 'Whoever runs the server must allow this page in its CORS options.'],
  'no-such-resource': [ASK, 'There is no upload server at this address', 'Check the address, or ask whoever runs this server.'],
  'method-not-allowed': [ASK, 'There is no upload server at this address', 'Check the address, or ask whoever runs this server.'],

  // What a client of the same version never causes.
  'bad-header': [ASK, 'The server did not understand a request', defect],
  'unknown-algorithm': [ASK, 'The server did not understand a checksum', defect],
  'hash-required': [ASK, 'The server asks for checksums', defect],
  'no-such-chunk': [ASK, 'The server counts the parts of this file differently', defect],
  'chunk-too-long': [ASK, 'A part was longer than the server expected', defect],
  'surplus': [ASK, 'A part was longer than the server expected', defect],
  'length-known': [ASK, 'The server did not understand a request', defect],
  'length-too-short': [ASK, 'The server did not understand a request', defect],
  'final-is-fixed': [ASK, 'The server did not understand a request', defect],
  'not-finished': [ASK, 'The upload is not finished', defect],
  'scan-pending': [ASK, 'The file is still being checked for malware', 'It can be had once that is done.'],
  'media-type': [ASK, 'The server did not understand a request', defect],
  'unsupported-version': [ASK, 'The server speaks another version of the protocol', defect],
  'precondition-failed': [ASK, 'The upload has changed on the server', defect],
  'not-implemented': [ASK, 'The server does not know what was asked for', defect],
};

/** Every code that has words of its own. */
export const CODES = Object.keys(TABLE);

/** What went wrong. Its `message` is for logs; `title` and `advice` are for people. */
export class UploadError extends Error {
  /**
   * @param {string} code of the server's answer (see its table of errors), or one of this side
   * @param {{ status?: number, detail?: string, wait?: number, offset?: ?number, cause?: unknown }} [more]
   */
  constructor(code, { status = 0, detail = '', wait = 0, offset = null, cause } = {}) {
    super(detail ? `${code}: ${detail}` : code, { cause });
    this.name = 'UploadError';
    const known = TABLE[code] ?? [status >= 500 ? AGAIN : ASK, 'The server refused the upload', report];
    /** Stable; for programs. */
    this.code = code;
    /** Of the HTTP answer; 0 where there was none. */
    this.status = status;
    /** What the server said. */
    this.detail = detail;
    [, this.title, this.advice] = known;
    /** Milliseconds that the server asks to wait. */
    this.wait = wait;
    /** Where the server stands, if it said so. */
    this.offset = offset;
    /** Whether it is tried again without anybody's doing. */
    this.passing = known[0] === AGAIN;
    /** Whether the session is of no use any more. */
    this.ended = known[0] === ANEW;
  }

  /** It was tried often enough. */
  giveUp() {
    this.passing = false;
    this.advice = 'It was tried several times in vain. What was sent is kept: press Retry to go on where it was.';
  }
}

/** The error that a failure without an answer is. */
export function unanswered(code) {
  return new UploadError(globalThis.navigator?.onLine === false ? 'offline' : code);
}

/**
 * The error that an answer is.
 * @param {number} status
 * @param {string} text the body
 * @param {{ wait?: number, offset?: ?number }} more
 */
export function refused(status, text, more) {
  let problem;
  try {
    problem = JSON.parse(text);
  } catch {
    // Not this server's own words: a proxy's, perhaps.
  }
  if (typeof problem?.code === 'string') {
    return new UploadError(problem.code, { status, detail: String(problem.detail ?? ''), ...more });
  }
  const passing = status >= 500 || status === 408 || status === 429;
  const code = passing ? 'server-busy' : status === 413 ? 'too-large' : 'unexpected';
  return new UploadError(code, { status, detail: `HTTP ${status}`, ...more });
}
