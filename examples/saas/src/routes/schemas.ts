const text = { type: 'string', minLength: 1, maxLength: 200 }
const formats = {
  email: { type: 'string', format: 'email', maxLength: 254 },
  password: { type: 'string', minLength: 10, maxLength: 200 },
  role: { enum: ['owner', 'member'] },
  plan: { enum: ['free', 'pro'] },
  id: { type: 'string', format: 'uuid' }
}

/** Returns the schema of an object with these properties, all of them required. */
export function object (...names: string[]): object {
  return {
    type: 'object',
    required: names,
    additionalProperties: false,
    properties: Object.fromEntries(names.map(name => [name, formats[name as keyof typeof formats] ?? text]))
  }
}
