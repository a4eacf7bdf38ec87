// A worker in Node, from protocol/SPEC.md and the MessagePack of npm.
//
//     npm ci
//     master map --worker 'node worker.js' square 2 3
//
// For a worker of one's own: write functions like `square`. What is below them needs no change.
// The numbers W-... are those of the requirements in SPEC.md.

import { isUtf8 } from 'node:buffer';
import { spawn } from 'node:child_process';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { decode, encode } from '@msgpack/msgpack';

// ---- Functions ----------------------------------------------------------------------------------

// What a function fails with, if the kind of the error matters. Any other error will do as well.
class Failure extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

const expect = (holds, expected) => {
  if (!holds) throw new Failure('InvalidArguments', `expected ${expected}`);
};

// A function may be async, and should be if it takes long: while one that is not async runs, nobody
// sees that the master is gone (W-3). Integers beyond 53 bits come as BigInt.
const functions = {
  square: {
    parameters: '(n)',
    help: 'The square of an integer',
    run: (n) => {
      expect(typeof n === 'bigint' || Number.isSafeInteger(n), 'n to be an integer');
      const square = BigInt(n) ** 2n;
      if (square >= 2n ** 64n) throw new Failure('Overflow', 'the square does not fit 64 bits');
      return square;
    },
  },
};

// Section 23. A raw function is given its arguments as they are encoded, and may give them back:
// JavaScript cannot tell 1.0 from 1, and has no maps with keys of any kind.
let remembered = null;
const conformanceFunctions = {
  echo: { parameters: '(value)', raw: true, run: (value) => value },
  fail: {
    parameters: '(message, kind?, times?)',
    run: (message, kind, times) => {
      expect(typeof message === 'string', 'message to be a text');
      expect(typeof (kind ?? '') === 'string', 'kind to be a text');
      expect(isCount(times ?? 1), 'times to be a number from 0');
      const enough = Math.ceil(TEXT_LIMIT / Math.max(message.length, 1)) + 1;
      throw new Failure(kind ?? 'Error', message.repeat(Math.min(times ?? 1, enough)));
    },
  },
  panic: {
    parameters: '(message)',
    run: (message) => {
      throw new Failure('Panic', message);
    },
  },
  sleep: {
    parameters: '(seconds, value?)',
    raw: true,
    run: async (seconds, value) => {
      await wait(seconds.decode());
      return value;
    },
  },
  spawn: {
    parameters: '(seconds)',
    run: (seconds) => {
      expect(isCount(seconds), 'seconds to be a number from 0');
      return new Promise((resolve, reject) => {
        const child = spawn('sleep', [`${seconds}`], { stdio: ['ignore', 'inherit', 'inherit'] });
        child.unref();
        child.on('spawn', () => resolve(child.pid)).on('error', reject);
      });
    },
  },
  print: {
    parameters: '(text)',
    run: async (text) => {
      expect(typeof text === 'string', 'text to be a text');
      const streams = [process.stdout, process.stderr];
      await Promise.all(streams.map((stream) => new Promise((r) => stream.write(`${text}\n`, r))));
    },
  },
  environment: {
    parameters: '(name)',
    run: (name) => {
      expect(typeof name === 'string', 'name to be a text');
      return process.env[name];
    },
  },
  remember: {
    parameters: '(value)',
    raw: true,
    run: (value) => {
      remembered = new Encoded(Buffer.from(value.bytes));
    },
  },
  recall: { parameters: '()', run: () => remembered },
  nest: {
    parameters: '(levels)',
    run: (levels) => {
      expect(isCount(levels), 'levels to be a number from 0');
      let value = null;
      for (let level = 0; level < Math.min(levels, LEVELS + 1); level++) {
        value = value === null ? [] : [value];
      }
      return value;
    },
  },
  repeat: {
    parameters: '(text, times)',
    run: (text, times) => {
      expect(typeof text === 'string', 'text to be a text');
      expect(isCount(times), 'times to be a number from 0');
      if (text.length * times < LONGEST_TEXT) return text.repeat(times);
      throw new Failure('InvalidResult', 'the text is longer than one of JavaScript can be');
    },
  },
  tick: {
    parameters: '(times, seconds)',
    run: async (times, seconds) => {
      expect(isCount(times), 'times to be a number from 0');
      for (let time = 0; time < times; time++) await wait(seconds);
      return times;
    },
  },
};

const isCount = (value) => Number.isSafeInteger(value) && value >= 0;

async function wait(seconds) {
  expect(['number', 'bigint'].includes(typeof seconds), 'seconds to be a number');
  expect(seconds >= 0, 'seconds to be 0 or more');
  // A timer of more milliseconds than 31 bits would go off at once.
  for (let left = Number(seconds) * 1000; left > 0; left -= 2 ** 31 - 1) {
    await sleep(Math.min(left, 2 ** 31 - 1));
  }
}

// ---- MessagePack, strictly ----------------------------------------------------------------------

const LIMIT = 2 ** 30; // of a frame
const TEXT_LIMIT = 2 ** 20; // of the texts of a failure, in bytes
const LONGEST_TEXT = 2 ** 29 - 24;
const LEVELS = 512;
const ENVELOPE_LEVELS = 16;

class Malformed extends Error {}

// Walks over values without decoding those of the user. The library would take more than it may:
// repeated fields, any number of levels, bytes behind the last value.
class Reader {
  at = 0;

  constructor(bytes) {
    this.bytes = bytes;
  }

  take(size) {
    const end = this.at + size;
    if (end > this.bytes.length) throw new Malformed('expected a value, found the end of a frame');
    const taken = this.bytes.subarray(this.at, end);
    this.at = end;
    return taken;
  }

  unsigned(size) {
    const bytes = this.take(size);
    return size < 8 ? bytes.readUIntBE(0, size) : number(bytes.readBigUInt64BE());
  }

  signed(size) {
    const bytes = this.take(size);
    return size < 8 ? bytes.readIntBE(0, size) : number(bytes.readBigInt64BE());
  }

  // The kind of a value, and what it holds: of an array or a map only how much that is.
  head() {
    const byte = this.unsigned(1);
    if (byte <= 0x7f) return ['integer', byte];
    if (byte <= 0x8f) return ['map', byte & 0x0f];
    if (byte <= 0x9f) return ['array', byte & 0x0f];
    if (byte <= 0xbf) return ['string', this.take(byte & 0x1f)];
    if (byte === 0xc0) return ['nil', null];
    if (byte === 0xc1) throw new Malformed('expected a value, found the byte c1');
    if (byte <= 0xc3) return ['boolean', byte === 0xc3];
    if (byte <= 0xc6) return ['binary', this.take(this.unsigned(1 << (byte - 0xc4)))];
    if (byte <= 0xc9) return ['extension', this.take(this.unsigned(1 << (byte - 0xc7)) + 1)];
    if (byte <= 0xcb) return ['float', this.take(4 << (byte - 0xca))];
    if (byte <= 0xcf) return ['integer', this.unsigned(1 << (byte - 0xcc))];
    if (byte <= 0xd3) return ['integer', this.signed(1 << (byte - 0xd0))];
    if (byte <= 0xd8) return ['extension', this.take((1 << (byte - 0xd4)) + 1)];
    if (byte <= 0xdb) return ['string', this.take(this.unsigned(1 << (byte - 0xd9)))];
    if (byte <= 0xdd) return ['array', this.unsigned(2 << (byte - 0xdc))];
    if (byte <= 0xdf) return ['map', this.unsigned(2 << (byte - 0xde))];
    return ['integer', byte - 0x100];
  }

  // A whole value. Of one in an envelope the values inside are kept, a map as keys and values.
  value(levels, envelope = false) {
    const start = this.at;
    let [kind, content] = this.head();
    if (envelope && ['float', 'binary', 'extension'].includes(kind)) {
      throw new Malformed(`expected a value that an envelope may hold, found ${kind}`);
    }
    if (kind === 'array' || kind === 'map') {
      if (levels === 0) throw new Malformed('expected fewer levels, found another one');
      const inside = [];
      for (let left = kind === 'map' ? 2 * content : content; left > 0; left--) {
        const value = this.value(levels - 1, envelope);
        if (envelope && kind === 'map' && left % 2 === 0 && value.kind !== 'string') {
          throw new Malformed(`expected a string as a key, found ${value.kind}`);
        }
        if (envelope) inside.push(value);
      }
      content = inside;
    }
    return { kind, content, bytes: this.bytes.subarray(start, this.at) };
  }

  // The values inside of an array or a map of the user.
  elements() {
    const [kind, count] = this.head();
    const elements = [];
    for (let left = kind === 'map' ? 2 * count : count; left > 0; left--) {
      elements.push(new Encoded(this.value(LEVELS).bytes));
    }
    return elements;
  }
}

const number = (integer) =>
  Number.isSafeInteger(Number(integer)) ? Number(integer) : integer;

// A value of the user as it is encoded.
class Encoded {
  constructor(bytes) {
    this.bytes = bytes;
  }

  // Never another value than the one that came: what JavaScript does not have is an error.
  decode() {
    try {
      checkTexts(new Reader(this.bytes));
      const decoded = decode(this.bytes, { useBigInt64: true, mapKeyConverter: textKey });
      return deep(decoded, (value) => (typeof value === 'bigint' ? number(value) : value));
    } catch (error) {
      throw new Failure('InvalidArguments', `it cannot be decoded: ${error.message}`);
    }
  }
}

function checkTexts(reader) {
  for (let left = 1; left > 0; left--) {
    const [kind, content] = reader.head();
    if (kind === 'string' && !isUtf8(content)) throw new Error('a text is not UTF-8');
    if (kind === 'extension') throw new Error('it has an extension type');
    left += kind === 'map' ? 2 * content : kind === 'array' ? content : 0;
  }
}

function textKey(key) {
  if (typeof key !== 'string') throw new Error('a key is not a string');
  return key;
}

// The same value with each that is no array or object changed.
function deep(value, change) {
  if (Array.isArray(value)) return value.map((inner) => deep(inner, change));
  if (value?.constructor !== Object) return change(value);
  const changed = Object.entries(value).map(([key, inner]) => [key, deep(inner, change)]);
  return Object.fromEntries(changed);
}

// The library writes integers of more than 32 bits as floats, unless they are BigInt.
function exact(value) {
  if (typeof value !== 'bigint' && !Number.isSafeInteger(value)) return value;
  return value >= -(2 ** 31) && value < 2 ** 31 ? Number(value) : BigInt(value);
}

const pack = (value) =>
  encode(deep(value, exact), { useBigInt64: true, ignoreUndefined: true, maxDepth: LEVELS + 1 });

// W-21
function packResult(value) {
  try {
    const packed = value instanceof Encoded ? value.bytes : pack(value);
    new Reader(Buffer.from(packed.buffer, packed.byteOffset, packed.length)).value(LEVELS);
    if (packed.length < LIMIT - 100) return packed;
  } catch (error) {
    throw new Failure('InvalidResult', `the result cannot be sent: ${error.message}`);
  }
  throw new Failure('InvalidResult', 'the result does not fit a frame');
}

// ---- Envelopes ----------------------------------------------------------------------------------

// Each type gives what a field holds, or nothing if it does not fit.
const text = ({ kind, content }) =>
  kind === 'string' && isUtf8(content) ? content.toString() : undefined;
const flag = ({ kind, content }) => (kind === 'boolean' ? content : undefined);
const u64 = ({ kind, content }) => (kind === 'integer' && content >= 0 ? content : undefined);
const u32 = (value) => (u64(value) < 2 ** 32 ? value.content : undefined);
const texts = ({ kind, content }) => {
  const all = kind === 'array' ? content.map(text) : [undefined];
  return all.includes(undefined) ? undefined : all;
};
const orNil = (type) => (value) => (value.kind === 'nil' ? null : type(value));
const map = (fields) => (value) => (value.kind === 'map' ? takeFields(value, fields) : undefined);

// The fields of each message, with their type, and the default of those that have one.
const place = { path: [text], key: [u64] };
const messages = {
  welcome: {
    version: [u32],
    features: [texts, []],
    slot: [u32, 0],
    pool: [text, ''],
    initializer: [orNil(text), null],
    keywords: [flag, false],
    shared_output: [orNil(map({ ...place, results: [orNil(u64), null] })), null],
    shared_arguments: [orNil(map(place)), null],
  },
  reject: { reason: [text] },
  call: {
    id: [u64],
    function: [text],
    items: [u32, 1],
    keywords: [flag, false],
    last: [flag, false],
    shared: [orNil(map({ offset: [u64], length: [u64] })), null],
  },
  drain: {},
};

// W-13: fields in any order; those that nobody knows are passed over.
function takeFields({ content }, fields) {
  const found = {};
  for (let i = 0; i < content.length; i += 2) {
    const [name, value] = [content[i].content.toString(), content[i + 1]];
    if (!Object.hasOwn(fields, name)) continue;
    if (Object.hasOwn(found, name)) throw new Malformed(`expected one \`${name}\`, found two`);
    found[name] = fields[name][0](value);
    if (found[name] === undefined) {
      throw new Malformed(`expected \`${name}\` of its type and range, found ${value.kind}`);
    }
  }
  for (const [name, [, byDefault]] of Object.entries(fields)) {
    found[name] ??= byDefault;
    if (found[name] === undefined) throw new Malformed(`expected a field \`${name}\`, found none`);
  }
  return found;
}

function openFrame(frame) {
  const reader = new Reader(frame);
  if (frame[0] !== 0x81) throw new Malformed('expected an envelope (81), found another byte');
  const [name, fields] = reader.value(ENVELOPE_LEVELS, true).content;
  const message = name.content.toString();
  if (!Object.hasOwn(messages, message) || fields.kind !== 'map') {
    throw new Malformed(`expected a message of a master, found \`${message}\``);
  }
  return { message, fields: takeFields(fields, messages[message]), reader };
}

// The items of a payload, which must have so many and nothing else.
function takeItems(reader, count, keywords) {
  const items = [];
  const take = (kind) => {
    const value = reader.value(LEVELS);
    if (value.kind !== kind) throw new Malformed(`expected an item's ${kind}, found ${value.kind}`);
    return value.bytes;
  };
  for (let item = 0; item < count; item++) {
    items.push({ positional: take('array'), keywords: keywords ? take('map') : Buffer.of(0x80) });
  }
  if (reader.at < reader.bytes.length) throw new Malformed('expected no more payload, found more');
  return items;
}

// ---- The connection -----------------------------------------------------------------------------

let socket;
let ended = false; // the master is gone
let inHand = false; // a function runs
let wake = () => {};
let chunks = []; // what has come and was not read yet
let waiting = 0; // bytes of that

function listen() {
  socket.on('data', (chunk) => {
    chunks.push(chunk);
    waiting += chunk.length;
    wake();
  });
  socket.on('error', end);
  socket.on('end', end);
}

function end() {
  ended = true;
  if (inHand) kill(); // W-3
  wake();
}

// The whole process group, if this process leads one: to it belongs what functions have started.
function kill() {
  try {
    process.kill(-process.pid, 'SIGKILL');
  } catch {
    process.kill(process.pid, 'SIGKILL');
  }
}

// W-11: the stream comes in pieces of any size. Nothing if it has ended before any of the bytes.
async function read(size) {
  while (waiting < size && !ended) await new Promise((resolve) => (wake = resolve));
  if (waiting === 0) return undefined;
  if (waiting < size) throw new Malformed('expected more of a frame, found the end of the stream');
  const all = chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
  chunks = waiting > size ? [all.subarray(size)] : [];
  waiting -= size;
  return all.subarray(0, size);
}

async function receive() {
  const length = (await read(4))?.readUInt32BE();
  if (length === undefined) process.exit(0); // W-1
  if (length === 0 || length > LIMIT) {
    throw new Malformed(`expected a frame of 1 to ${LIMIT} bytes, found ${length}`);
  }
  const frame = await read(length);
  if (!frame) throw new Malformed('expected a frame, found the end of the stream');
  return openFrame(frame);
}

// Resolves when all is written, and not only kept by Node (W-28).
async function send(message, fields, payload = Buffer.alloc(0)) {
  const envelope = pack({ [message]: fields });
  const length = Buffer.alloc(4);
  length.writeUInt32BE(envelope.length + payload.length);
  const frame = Buffer.concat([length, envelope, payload]);
  const error = await new Promise((resolve) => socket.write(frame, resolve));
  if (error) process.exit(0); // W-2
}

// ---- Calls --------------------------------------------------------------------------------------

// W-34; and what is no UTF-8 as JavaScript may have it becomes so.
function cut(text) {
  const bytes = Buffer.from(String(text));
  if (bytes.length <= TEXT_LIMIT) return bytes.toString();
  return bytes.subarray(0, TEXT_LIMIT).toString().replace(/\ufffd$/, '');
}

const failure = (error) => ({
  kind: cut(error?.kind ?? error?.name ?? 'Error'),
  message: cut(error?.message ?? error),
  // Of what a function fails with on purpose the place is of no use to anybody.
  traceback: error instanceof Failure || !error?.stack ? undefined : cut(error.stack),
});

// The arguments of an item, each at the place of its parameter.
function bind(name, { parameters }, item) {
  const known = [...parameters.matchAll(/(\w+)(\??)/g)];
  const values = new Reader(item.positional).elements();
  const keywords = new Reader(item.keywords).elements();
  const check = (holds, problem) => {
    if (!holds) throw new Failure('InvalidArguments', `${name}${parameters}: ${problem}`);
  };
  check(values.length <= known.length, `found ${values.length} arguments`);
  for (let i = 0; i < keywords.length; i += 2) {
    const keyword = keywords[i].decode();
    const position = known.findIndex(([, parameter]) => parameter === keyword);
    check(position >= 0 && !values[position], `has no room for \`${keyword}\``);
    values[position] = keywords[i + 1];
  }
  const missing = known.find(([, , optional], i) => !optional && !values[i]);
  check(!missing, `\`${missing?.[1]}\` is missing`);
  return values;
}

async function run(name, item) {
  if (!Object.hasOwn(functions, name)) {
    throw new Failure('UnknownFunction', `no function is named \`${name}\``); // W-32
  }
  const called = functions[name];
  const values = bind(name, called, item);
  return called.run(...(called.raw ? values : values.map((value) => value?.decode())));
}

async function call({ id, function: name, items: count, keywords, last, shared }, reader) {
  if (count === 0) throw new Malformed('expected an item or more, found a call of none');
  if (shared) throw new Malformed('expected a payload in the frame, found `shared`');
  const items = takeItems(reader, count, keywords);
  let failed = false;
  for (const [item, values] of items.entries()) {
    if (ended) process.exit(0); // W-2
    inHand = true;
    let answer;
    try {
      answer = ['result', { id, item }, packResult(await run(name, values))];
    } catch (error) {
      failed = true;
      answer = ['error', { id, item, failure: failure(error) }];
    }
    inHand = false; // The master may close once it has the last answer.
    await send(...answer);
  }
  if (last) process.exit(failed ? 1 : 0); // W-31
}

async function start({ version, features, initializer, keywords }, reader) {
  if (version !== 1) throw new Malformed(`expected version 1, found ${version}`); // W-24
  if (features.length > 0) throw new Malformed(`expected no feature, found \`${features[0]}\``);
  const [item] = takeItems(reader, initializer === null ? 0 : 1, keywords);
  if (item) {
    if (ended) process.exit(0);
    inHand = true;
    try {
      await run(initializer, item);
    } catch (error) {
      inHand = false;
      await send('initializer_failed', failure(error));
      process.exit(1); // W-20
    }
    inHand = false;
  }
  await send('ready', {});
}

async function serve(token) {
  listen();
  const described = ([name, { parameters, help }]) => ({ name, parameters, help });
  await send('hello', {
    token,
    oldest: 1,
    newest: 1,
    name: 'worker.js',
    version: '1.0.0',
    functions: Object.entries(functions).map(described),
  });
  for (let welcomed = false; ; welcomed = true) {
    const { message, fields, reader } = await receive();
    if (message === 'call' && welcomed) {
      await call(fields, reader);
    } else if (message === 'welcome' && !welcomed) {
      await start(fields, reader);
    } else if (message === 'drain' && welcomed) {
      takeItems(reader, 0);
      process.exit(0); // W-23
    } else if (message === 'reject' && !welcomed) {
      takeItems(reader, 0);
      leave(76, `the master refused this worker: ${fields.reason}`); // W-22
    } else {
      throw new Malformed(`expected another message at this time, found \`${message}\``);
    }
  }
}

function leave(status, problem) {
  console.error(`worker.js: ${problem}`);
  process.exit(status);
}

const { WORKER_ADDRESS: address, WORKER_TOKEN: token } = process.env;
delete process.env.WORKER_ADDRESS; // W-5
delete process.env.WORKER_TOKEN;
const [first, ...others] = process.argv.slice(2);
const conformance = first === '--conformance';
if (conformance) Object.assign(functions, conformanceFunctions);
if (!address || !token || (first && !conformance) || others.length > 0) {
  leave(2, 'a worker, to be started by a master: master map --worker "node worker.js" square 2 3');
}
socket = connect(address, () =>
  serve(token).catch((error) => {
    if (!(error instanceof Malformed)) throw error;
    leave(76, `the master broke the protocol: ${error.message}`); // W-36
  }),
);
socket.once('error', (error) => {
  if (socket.connecting || !socket.bytesWritten) leave(76, `cannot connect: ${error.message}`);
});
