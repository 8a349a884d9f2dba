// Names of logins and databases, for processes that need nothing else.
import { createHash } from 'node:crypto'

export function databaseOf (url: string): string {
  return new URL(url).pathname.slice(1)
}

/** Returns the name of a login that the database's teardown drops, and its URL. */
export function loginUrl (url: string, use: string): string {
  const login = new URL(url)
  login.username = `login_${use}_${createHash('md5').update(databaseOf(url)).digest('hex').slice(0, 8)}`
  login.password = `secret of ${use}`
  return login.href
}
