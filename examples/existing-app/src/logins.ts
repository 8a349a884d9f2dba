const { DATABASE_URL, OLD_URL, APP_URL } = process.env
if (DATABASE_URL === undefined)
  throw new Error('DATABASE_URL must be set: the URL of an empty database, as a superuser')

function loginOf (username: string): string {
  return Object.assign(new URL(DATABASE_URL as string), { username, password: username }).href
}

/** The owner of the database, for set-up and migrations. */
export const ownerUrl = DATABASE_URL
/** The login of the old code, which owns the tables at first. */
export const oldUrl = OLD_URL ?? loginOf('old_app')
/** The login of the new code. `tenancy init` makes it. */
export const appUrl = APP_URL ?? loginOf('new_app')
