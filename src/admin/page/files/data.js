// A znode's data as text, JSON or hex.

import { build, bytes, fill } from './build.js';

// Rows of sixteen bytes that are drawn at once.
const HEX_ROWS = 1024;
// Characters that are drawn at once.
const TEXT_MAX = 300000;
// Levels that JSON is indented by: more would be all blanks.
const INDENT_MAX = 40;

export function decode(base64) {
  const binary = atob(base64);
  const octets = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at += 1) octets[at] = binary.charCodeAt(at);
  return octets;
}

export const isSame = (a, b) => a.length === b.length && a.every((octet, at) => octet === b[at]);

// Text, or null when the bytes are none or have control characters.
export function asText(octets) {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(octets);
    return /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/.test(text) ? null : text;
  } catch {
    return null;
  }
}

// JSON, indented, or null when it is none. Each name, text and number stays as it was written: parsing
// would round numbers, drop names that come twice and put them in another order.
export function asJson(text) {
  if (text === null || !/^\s*[[{"]/.test(text)) return null;
  try {
    JSON.parse(text);
  } catch {
    return null;
  }
  const words = text.match(/"(?:[^"\\]|\\.)*"|[[\]{}:,]|[^\s[\]{}:,"]+/g);
  const indented = [];
  let depth = 0;
  const line = () => indented.push('\n', '  '.repeat(Math.min(depth, INDENT_MAX)));
  words.forEach((word, at) => {
    const isEmpty = '[{'.includes(words[at - 1]) && ']}'.includes(word);
    if (']}'.includes(word)) {
      depth -= 1;
      if (!isEmpty) line();
    }
    indented.push(word);
    if (word === ',') line();
    else if (word === ':') indented.push(' ');
    else if ('[{'.includes(word)) {
      depth += 1;
      if (!']}'.includes(words[at + 1])) line();
    }
  });
  return indented.join('');
}

function hexDump(octets, rows) {
  const lines = [];
  for (let at = 0; at < octets.length && lines.length < rows; at += 16) {
    const row = octets.subarray(at, at + 16);
    const pairs = [...row].map((octet) => octet.toString(16).padStart(2, '0'));
    const left = pairs.slice(0, 8).join(' ').padEnd(23);
    const right = pairs.slice(8).join(' ').padEnd(23);
    const text = [...row].map((octet) =>
      (octet >= 0x20 && octet < 0x7f ? String.fromCharCode(octet) : '·')).join('');
    lines.push(`${at.toString(16).padStart(8, '0')}  ${left}  ${right}  ${text}`);
  }
  return lines.join('\n');
}

// What is to be seen of the bytes: [title, text] of each way that fits, the best one first.
export function forms(octets) {
  const text = asText(octets);
  const json = asJson(text);
  const all = {};
  if (json !== null) all.JSON = json;
  if (text !== null) all.Text = text;
  all.Hex = null;
  return all;
}

// Draws bytes; `more` are those that are still at the server, `load` gets them.
export function dataView({ isNull, octets, more, load, download }, preferred, onForm) {
  if (isNull) return build('p', { class: 'quiet' }, 'null: this znode has no data, not even empty data.');
  if (octets.length === 0 && more === 0) return build('p', { class: 'quiet' }, 'Empty.');
  // A part of a text may end within a character, and part of JSON is none.
  const all = more > 0 ? { ...(forms(wholeCharacters(octets))), Hex: null } : forms(octets);
  let form = preferred && preferred in all ? preferred : Object.keys(all)[0];
  let rows = HEX_ROWS;
  const pre = build('pre', { class: 'data', tabindex: '0', 'aria-label': 'Data', 'data-scroll': 'data' });
  const rest = build('div', { class: 'rest' });
  const draw = () => {
    const isHex = form === 'Hex';
    pre.classList.toggle('wrap', form === 'Text');
    const text = isHex ? hexDump(octets, rows) : all[form].slice(0, TEXT_MAX);
    pre.textContent = text;
    const undrawn = isHex ? octets.length - rows * 16 : all[form].length - TEXT_MAX;
    fill(rest,
      undrawn > 0 && isHex && build('button', { type: 'button', onclick: () => { rows *= 4; draw(); } },
        `Draw ${bytes(undrawn)} more`),
      undrawn > 0 && !isHex && build('p', { class: 'quiet' }, `${undrawn} more characters are not drawn; download them.`),
      more > 0 && build('button', { type: 'button', 'data-key': 'load', onclick: load },
        `Load the other ${bytes(more)}`));
  };
  const buttons = Object.keys(all).map((name) => build('button', {
    type: 'button', 'aria-pressed': String(name === form), 'data-key': `form-${name}`,
    onclick: () => {
      form = name;
      onForm(name);
      for (const button of buttons) button.setAttribute('aria-pressed', String(button.textContent === name));
      draw();
    },
  }, name));
  draw();
  return [build('div', { class: 'toolbar' },
    build('div', { class: 'segments', role: 'group', 'aria-label': 'Show data as' }, buttons),
    build('button', { type: 'button', 'data-key': 'download', onclick: download }, 'Download')), pre, rest];
}

// Without the character that the end has cut.
function wholeCharacters(octets) {
  let end = octets.length;
  for (let back = 1; back <= 4 && back <= octets.length; back += 1) {
    const octet = octets[octets.length - back];
    if ((octet & 0xc0) === 0x80) continue;
    const length = octet >= 0xf0 ? 4 : octet >= 0xe0 ? 3 : octet >= 0xc0 ? 2 : 1;
    if (length > back) end = octets.length - back;
    break;
  }
  return octets.subarray(0, end);
}
