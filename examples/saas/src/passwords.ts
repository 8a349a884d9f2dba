import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'

const derive = promisify(scrypt) as (password: string, salt: Buffer, length: number) => Promise<Buffer>

/** Returns salt and hash of a password, as it is stored. */
export async function hashPassword (password: string): Promise<string> {
  const salt = randomBytes(16)
  return `${salt.toString('hex')}:${(await derive(password, salt, 32)).toString('hex')}`
}

/** Whether a password is the stored one. Takes as long without a stored one: no user, no hint. */
export async function isPassword (password: string, stored = `${'00'.repeat(16)}:${'00'.repeat(32)}`) {
  const [salt = '', hash = ''] = stored.split(':')
  const derived = await derive(password, Buffer.from(salt, 'hex'), 32)
  return timingSafeEqual(derived, Buffer.from(hash, 'hex'))
}
