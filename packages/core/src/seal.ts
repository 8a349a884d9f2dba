import { createHmac, createSecretKey, timingSafeEqual, type KeyObject } from 'node:crypto'

/** Characters of a signature: 32 bytes in base64url. */
export const signatureLength = 43

/**
 * Derives the key of one use from a secret: HMAC-SHA256 of the use's name. The key of one use is worth nothing for another.
 */
export function deriveKey (secret: string, use: string): Buffer {
  return createHmac('sha256', secret).update(`fastify-tenancy ${use}`).digest()
}

/** What a signature covers. */
export interface Sealed {
  /** Under which key the value is stored: a value that was moved to another key is not genuine there. */
  readonly key: string
  /** Until when it may be believed, in milliseconds since 1970. */
  readonly expiresAt: number
  /** What belongs to the value and is stored beside it. */
  readonly note: string
  readonly value: string
}

/**
 * Signs what is stored where others may write, and tells later whether it is what was stored. HMAC-SHA256 with a key of its
 * own. Several secrets serve a change of the secret: the first one signs, and all are accepted.
 */
export class Seal {
  // KeyObjects, because an HMAC whose key comes as bytes costs seven times as much.
  readonly #keys: readonly KeyObject[]

  /**
   * @param use what the signatures are for: those of one use are not genuine for another.
   * @param installation whose they are: two installations may have one secret. @default none: the signatures hold in every installation
   */
  constructor (secrets: readonly string[], use: string, installation?: string) {
    this.#keys = secrets.map(secret =>
      createSecretKey(deriveKey(secret, installation === undefined ? use : `${use} of ${installation}`))
    )
  }

  /** The signature, in {@link signatureLength} characters of base64url. */
  sign (sealed: Sealed): string {
    return signatureOf(this.#keys[0] as KeyObject, messageOf(sealed))
  }

  /** Whether this is the signature of a value that has not expired. */
  isGenuine (signature: string, sealed: Sealed, now: number = Date.now()): boolean {
    if (!(now < sealed.expiresAt) || signature.length !== signatureLength) return false
    const message = messageOf(sealed)
    const input = Buffer.from(signature)
    // Other characters than those of a signature may take more bytes.
    if (input.length !== signatureLength) return false
    return this.#keys.some(key => timingSafeEqual(input, Buffer.from(signatureOf(key, message))))
  }

  /** A value with its signature and its end in front: `.<signature><end>\n<value>`. */
  wrap (key: string, value: string, expiresAt: number): string {
    return `.${this.sign({ key, expiresAt, note: '', value })}${expiresAt}\n${value}`
  }

  /** The value of what {@link wrap} made for this key; undefined for anything else, and when its end has passed. */
  unwrap (key: string, text: string, now: number = Date.now()): string | undefined {
    const end = text.indexOf('\n')
    if (!text.startsWith('.') || end === -1) return undefined
    const expiry = text.slice(1 + signatureLength, end)
    if (!/^\d{1,16}$/.test(expiry)) return undefined
    const value = text.slice(end + 1)
    const signature = text.slice(1, 1 + signatureLength)
    return this.isGenuine(signature, { key, expiresAt: Number(expiry), note: '', value }, now)
      ? value
      : undefined
  }
}

// Lengths first, so that no part can be taken for the beginning of the next one.
function messageOf ({ key, expiresAt, note, value }: Sealed): string {
  return `${key.length} ${note.length} ${expiresAt}\n${key}${note}${value}`
}

function signatureOf (key: KeyObject, message: string): string {
  return createHmac('sha256', key).update(message).digest('base64url')
}
