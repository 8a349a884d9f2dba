import { createHmac, createSecretKey, timingSafeEqual, type KeyObject } from 'node:crypto'

/** Characters of a signature: 32 bytes in base64url. */
export const signatureLength = 43

/**
 * Derives the key of one use from a secret: HMAC-SHA256 of the use's name. The key of one use is
 * worthless for another.
 */
export function deriveKey (secret: string, use: string): Buffer {
  return createHmac('sha256', secret).update(`fastify-tenancy ${use}`).digest()
}

/** The fields that a signature covers. */
export interface Sealed {
  /** The key of the value. A value that was copied to another key is not genuine there. */
  readonly key: string
  /** Expiry of the value, in milliseconds since 1970. */
  readonly expiresAt: number
  /** Data that is stored beside the value. */
  readonly note: string
  readonly value: string
}

/**
 * Signs stored values and verifies them, for stores that others can write to. Uses HMAC-SHA256 with
 * a derived key. Several secrets allow a rotation: the first one signs, all of them verify.
 */
export class Seal {
  // KeyObjects, because an HMAC with a key in bytes costs seven times as much.
  readonly #keys: readonly KeyObject[]

  /**
   * @param use purpose of the signatures. A signature of one use is not genuine for another.
   * @param installation the installation, because two installations may share a secret. @default
   * none: the signatures are valid in every installation
   */
  constructor (secrets: readonly string[], use: string, installation?: string) {
    this.#keys = secrets.map(secret =>
      createSecretKey(deriveKey(secret, installation === undefined ? use : `${use} of ${installation}`))
    )
  }

  /** Returns the signature, in {@link signatureLength} characters of base64url. */
  sign (sealed: Sealed): string {
    return signatureOf(this.#keys[0] as KeyObject, messageOf(sealed))
  }

  /** Whether this is the signature of a value that has not expired. */
  isGenuine (signature: string, sealed: Sealed, now: number = Date.now()): boolean {
    if (!(now < sealed.expiresAt) || signature.length !== signatureLength) return false
    const message = messageOf(sealed)
    const input = Buffer.from(signature)
    // Characters outside base64url may take more than one byte.
    if (input.length !== signatureLength) return false
    return this.#keys.some(key => timingSafeEqual(input, Buffer.from(signatureOf(key, message))))
  }

  /** Returns a value prefixed with its signature and expiry: `.<signature><expiry>\n<value>`. */
  wrap (key: string, value: string, expiresAt: number): string {
    return `.${this.sign({ key, expiresAt, note: '', value })}${expiresAt}\n${value}`
  }

  /**
   * Returns the value of a text that {@link wrap} made for this key. Returns undefined for any
   * other text and after the expiry.
   */
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

// The lengths come first, so that no part can be read as the beginning of the next.
function messageOf ({ key, expiresAt, note, value }: Sealed): string {
  return `${key.length} ${note.length} ${expiresAt}\n${key}${note}${value}`
}

function signatureOf (key: KeyObject, message: string): string {
  return createHmac('sha256', key).update(message).digest('base64url')
}
