// What the client tests share: a highwater of their own, programs that upload to it, and the proof that what is stored is
// what was sent. Nothing here sleeps for luck: every wait is for a condition and has an end.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const MiB = 1024 * 1024;
/** The longest wait for anything that a healthy server does at once, on a machine that is busy with other things. */
export const PATIENCE = 30_000;

/** Where the clients' programs lie. */
export const clients = fileURLToPath(new URL('.', import.meta.url));
const repository = fileURLToPath(new URL('../../', import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? join(repository, 'target');
const binary = process.env.HIGHWATER_BIN ?? join(target, 'release', 'highwater');
/** Not the system's temporary directory: that may be held in memory, and the files here are large. */
const workshop = join(target, 'tmp', 'clients');

/** Waits until `condition` gives something true, and returns that. */
export async function until(what, condition, patience = PATIENCE) {
  const end = Date.now() + patience;
  for (;;) {
    const outcome = await condition();
    if (outcome) return outcome;
    if (Date.now() > end) throw new Error(`waited ${patience} ms in vain: ${what}`);
    await delay(20);
  }
}

/** The outcome of `promise`, which must come in time. */
async function within(promise, what, patience = PATIENCE) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${patience} ms in vain: ${what}`)), patience);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** One data directory and the server on it, which may be killed and started again on the same port. */
export class Server {
  #process = null;
  #log = '';
  #exited = null;
  port = 0;

  constructor(home, flags = []) {
    this.home = home;
    this.dir = join(home, 'data');
    this.flags = flags;
  }

  get endpoint() {
    return `http://127.0.0.1:${this.port}/files/`;
  }

  /** A path, as a request named it, at this server: asked without the wire that the client speaks over. */
  at(path) {
    return `http://127.0.0.1:${this.port}${path}`;
  }

  /** The last lines of what the server logged, over all its lives. */
  get log() {
    return this.#log.slice(-4000);
  }

  /** Starts the server, on the port it had before if there was one, and waits until it says where it listens. */
  async start() {
    if (!existsSync(binary)) throw new Error(`no server at ${binary}: run \`cargo build --release --locked\``);
    const where = ['--host', '127.0.0.1', '--port', String(this.port), '--upload-dir', this.dir];
    const child = spawn(binary, [...where, ...this.flags], {
      env: { ...process.env, NO_COLOR: '1' },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#process = child;
    running.add(child);
    this.#exited = new Promise((resolve) => {
      child.once('error', (error) => resolve({ error }));
      child.once('close', (code, signal) => resolve({ code, signal }));
    }).finally(() => {
      running.delete(child);
      this.#process = null;
    });
    let told = '';
    const ready = new Promise((resolve) => {
      child.stderr.setEncoding('utf8').on('data', (text) => {
        this.#log += text;
        told += text;
        const port = /url=http:\/\/127\.0\.0\.1:(\d+)\/files\//.exec(told)?.[1];
        if (port) resolve(Number(port));
      });
    });
    const first = await within(Promise.race([ready, this.#exited]), 'the server says where it listens');
    if (typeof first !== 'number') throw new Error(`the server did not start: ${JSON.stringify(first)}`);
    this.port = first;
    return this;
  }

  /** Ends the server by its process id and waits until it is gone. */
  async end(signal) {
    assert.ok(this.#process, 'the server had died by itself');
    this.#process.kill(signal);
    const outcome = await within(this.#exited, `the server is gone after ${signal}`);
    if (signal === 'SIGTERM') assert.equal(outcome.code, 0, 'SIGTERM is an orderly end');
  }

  /** A crash and the start after it. */
  async crash() {
    await this.end('SIGKILL');
    await this.start();
  }

  async stop() {
    await this.end('SIGTERM');
    assert.doesNotMatch(this.#log, /panicked at/, 'the server panicked');
  }

  /** Whatever happened before: no process stays behind. */
  abandon() {
    this.#process?.kill('SIGKILL');
  }

  /** Where the README says that a complete upload lies: two characters of its id make a folder. */
  stored(url) {
    const id = new URL(url).pathname.replace(/^\/files\//, '');
    return join(this.dir, 'files', id.slice(0, 2), id);
  }
}

// A test process that dies takes its servers with it.
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/** A test with a server of its own; when it fails, the server's last words come with the failure. */
export function serverTest(name, { flags = [], timeout = 60_000 }, body) {
  test(name, { timeout }, async (t) => {
    await mkdir(workshop, { recursive: true });
    const server = new Server(await mkdtemp(join(workshop, 'server-')), flags);
    try {
      await server.start();
      await body(server, t);
      await server.stop();
    } catch (error) {
      error.message += `\n--- the server's log\n${server.log}`;
      throw error;
    } finally {
      server.abandon();
      await rm(server.home, { recursive: true, force: true });
    }
  });
}

/**
 * A program, which ends or is killed within the test: `ended` gives how, and what it printed. `input` goes to its standard
 * input.
 */
export function program(command, args, { input, ...options } = {}) {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], ...options });
  const printed = { out: '', err: '' };
  child.stdout.setEncoding('utf8').on('data', (text) => (printed.out += text));
  child.stderr.setEncoding('utf8').on('data', (text) => (printed.err += text));
  child.stdin.on('error', () => {}); // it need not read to the end
  child.stdin.end(input);
  running.add(child);
  const ended = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal, ...printed }));
  }).finally(() => running.delete(child));
  ended.catch(() => {}); // asked for later
  return {
    ended: () => within(ended, `${command} ends`, 2 * PATIENCE),
    async kill() {
      child.kill('SIGKILL');
      assert.equal((await ended).signal, 'SIGKILL', `${command} had ended by itself: ${printed.err}`);
    },
  };
}

/** Runs a program that must succeed, and gives what it printed. */
export async function succeed(command, args, options) {
  const { code, signal, out, err } = await program(command, args, options).ended();
  assert.equal(code, 0, `${command} ${args.join(' ')}: ${code ?? signal}\n${out}\n${err}`);
  return out;
}

/** A file of random bytes in the test's own directory. */
export async function sourceFile(server, size, name = 'source.bin') {
  const bytes = randomBytes(size);
  const path = join(server.home, name);
  await writeFile(path, bytes);
  return { path, bytes, digest: digest(bytes) };
}

/** A single request beside the client's, on a connection of its own; the body is handed to `sink` or thrown away. */
export function ask(method, url, { headers = {}, sink } = {}) {
  return new Promise((resolve, reject) => {
    const options = { method, agent: false, headers: { 'Tus-Resumable': '1.0.0', ...headers } };
    const req = httpRequest(url, options, async (res) => {
      try {
        for await (const chunk of res) sink?.(chunk);
        resolve({ status: res.statusCode, headers: res.headers, offset: Number(res.headers['upload-offset'] ?? NaN) });
      } catch (error) {
        reject(error);
      }
    });
    req.setTimeout(PATIENCE, () => req.destroy(new Error(`${method} ${url}: no answer within ${PATIENCE} ms`)));
    req.once('error', reject);
    req.end();
  });
}

export const head = (url) => ask('HEAD', url);

/** Waits until HEAD tells exactly `offset`: everything sent so far has arrived, and the server has promised it. */
export function untilTold(url, offset) {
  return until(`HEAD tells the offset ${offset}`, async () => (await head(url)).offset === offset);
}

export function digest(bytes) {
  return { size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
}

export async function digestFile(path) {
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: MiB })) {
    size += chunk.length;
    hash.update(chunk);
  }
  return { size, sha256: hash.digest('hex') };
}

/**
 * What is stored is what was sent: by GET, and in the data directory. A parallel upload's GET is good from the first
 * moment, while its file is assembled in the background: it is waited for.
 */
export async function assertStored(server, url, source) {
  const hash = createHash('sha256');
  let size = 0;
  const sink = (chunk) => {
    size += chunk.length;
    hash.update(chunk);
  };
  const download = await ask('GET', url, { sink });
  assert.equal(download.status, 200, `GET ${url}`);
  assert.equal(download.headers['content-length'], String(source.size));
  assert.deepEqual({ size, sha256: hash.digest('hex') }, source, 'the download is not what was sent');

  const path = server.stored(url);
  await until(`${path} is there`, () => existsSync(path));
  assert.deepEqual(await digestFile(path), source, 'the stored file is not what was sent');
  return download;
}

/** Waits until a terminated upload's bytes have left the data directory too. */
export async function assertGone(server, url) {
  assert.equal((await head(url)).status, 404, `HEAD ${url}`);
  assert.equal((await ask('GET', url)).status, 404, `GET ${url}`);
  await until(`${server.stored(url)} is removed`, () => !existsSync(server.stored(url)));
}

/**
 * A real file of at least 500 MB: the Rust toolchain's own libraries, packed together. Made once and kept in target/.
 */
export async function bigFile() {
  const path = join(workshop, 'toolchain.tar');
  if (!existsSync(path)) {
    await mkdir(workshop, { recursive: true });
    const sysroot = execFileSync('rustc', ['--print', 'sysroot'], { encoding: 'utf8' }).trim();
    const host = /^host: (.*)$/m.exec(execFileSync('rustc', ['-vV'], { encoding: 'utf8' }))[1];
    const libraries = (await readdir(join(sysroot, 'lib'))).filter((name) => /^lib(rustc_driver|LLVM)/.test(name));
    const packed = [...libraries, join('rustlib', host)];
    const making = `${path}.${process.pid}`;
    do {
      const tar = spawn('tar', ['-C', join(sysroot, 'lib'), '-cf', '-', ...packed], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const left = new Promise((resolve) => tar.once('close', resolve));
      await pipeline(tar.stdout, createWriteStream(making, { flags: 'a' }));
      assert.equal(await left, 0, 'tar packs the toolchain');
    } while ((await stat(making)).size < 500_000_000);
    await rename(making, path);
  }
  return { path, ...(await digestFile(path)) };
}
