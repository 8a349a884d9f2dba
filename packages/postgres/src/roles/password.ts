import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'

/** The number for servers without the setting `scram_iterations`: PostgreSQL 15. */
const defaultIterations = 4096

/**
 * Returns the SCRAM verifier that `create role … password` accepts (RFC 5803), so that no server
 * log holds the password. Non-ASCII text would need SASLprep, so it is returned unchanged.
 *
 * @param iterations the server's own setting `scram_iterations`
 */
export function passwordVerifier (password: string, iterations: number = defaultIterations): string {
  if (!/^[\x20-\x7e]+$/.test(password)) return password
  const salt = randomBytes(16)
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256')
  const clientKey = createHmac('sha256', salted).update('Client Key').digest()
  const storedKey = createHash('sha256').update(clientKey).digest('base64')
  const serverKey = createHmac('sha256', salted).update('Server Key').digest('base64')
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${storedKey}:${serverKey}`
}
