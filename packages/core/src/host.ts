const longestHost = 253
const longestLabel = 63

/**
 * Returns a host with an optional port as a bare lower-case name. Returns undefined for an invalid
 * host and for IP addresses.
 *
 * An underscore is accepted: no slug has one, but DNS allows it, so such a name is unknown rather
 * than malformed.
 */
export function parseHost (text: string): string | undefined {
  let end = text.length
  let label = 0 // start of the current label
  let lastLabel = 0
  let isLowerCase = true
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if ((code >= 97 && code <= 122) || (code >= 48 && code <= 57) || code === 45 || code === 95) continue
    if (code >= 65 && code <= 90) {
      isLowerCase = false
    } else if (code === 46) {
      if (at === label || at - label > longestLabel) return undefined
      lastLabel = label
      label = at + 1
    } else if (code === 58) {
      if (!isPort(text, at + 1)) return undefined
      end = at
      break
    } else {
      return undefined
    }
  }
  if (end === 0) return undefined
  if (label === end) end--
  else if (end - label > longestLabel) return undefined
  else lastLabel = label
  if (end > longestHost) return undefined
  const host = end === text.length ? text : text.slice(0, end)
  if (isNumeric(host, lastLabel)) return undefined
  return isLowerCase ? host : host.toLowerCase()
}

function isPort (text: string, from: number): boolean {
  const port = text.slice(from)
  return /^[0-9]{1,5}$/.test(port) && Number(port) > 0 && Number(port) <= 65_535
}

// Whether the name ends in a number. Every resolver reads such a name as an IPv4 address, in any
// form: 127.1, 0x7f.1, 2130706433.
function isNumeric (host: string, lastLabel: number): boolean {
  const first = host.charCodeAt(lastLabel)
  return first >= 48 && first <= 57 && /^(?:[0-9]+|0x[0-9a-f]*)$/i.test(host.slice(lastLabel))
}
