import { gunzipSync, inflateSync } from 'node:zlib'

/** Limit in bytes up to which a compressed text is unpacked. */
const maxUnpackedBytes = 8 * 1024 * 1024

/**
 * Returns a text and all its decoded forms: percent-encoding, JSON escapes, base64 and hex, also
 * nested. Cursors, tokens and ETags often contain encoded values.
 */
export function readings (text: string): string[] {
  const found = new Set([text])
  // The loop also visits the forms that it adds.
  for (const current of found) {
    if (found.size >= 2_000) break
    for (const decoded of decodings(current)) found.add(decoded)
  }
  return [...found]
}

/** Returns the text of a body, unpacked if it is compressed. */
export function textOf (bytes: Buffer): string {
  try {
    if (bytes[0] === 0x1f && bytes[1] === 0x8b)
      return gunzipSync(bytes, { maxOutputLength: maxUnpackedBytes }).toString()
    if (bytes[0] === 0x78 && (bytes[1] === 0x9c || bytes[1] === 0x01 || bytes[1] === 0xda))
      return inflateSync(bytes, { maxOutputLength: maxUnpackedBytes }).toString()
  } catch {
    // The bytes only looked compressed, so read them as text.
  }
  return bytes.toString()
}

function* decodings (text: string): Generator<string> {
  if (/%[0-9a-f]{2}/i.test(text)) yield text.replaceAll(/(?:%[0-9a-f]{2})+/gi, decodePercent)
  if (/\\u[0-9a-f]{4}/i.test(text))
    yield text.replaceAll(/\\u([0-9a-f]{4})/gi, (_, code: string) => String.fromCharCode(parseInt(code, 16)))
  for (const token of new Set(text.match(/[A-Za-z0-9+/_-]{8,}/g))) {
    if (/^(?:[0-9a-f]{2}){6,}$/i.test(token)) {
      const decoded = Buffer.from(token, 'hex').toString()
      if (isText(decoded)) yield decoded
    }
    const decoded = Buffer.from(token, 'base64').toString()
    if (isText(decoded)) yield decoded
  }
}

function decodePercent (encoded: string): string {
  try {
    return decodeURIComponent(encoded)
  } catch {
    return encoded
  }
}

// Whether decoded bytes are text. Other bytes decode to replacement and control characters.
function isText (decoded: string): boolean {
  return decoded.length >= 4 && /^[\t\n\r\u0020-\u007e\u00a0-\ufffc]+$/.test(decoded)
}
