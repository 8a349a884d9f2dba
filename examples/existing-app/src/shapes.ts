const id = { type: 'string', format: 'uuid' }

export const byId = { schema: { params: { type: 'object', properties: { id } } } }

export const newTask = {
  schema: {
    body: {
      type: 'object',
      required: ['project', 'title'],
      additionalProperties: false,
      properties: { project: id, title: { type: 'string', minLength: 1, maxLength: 200 } }
    }
  }
}

/** Throws the error that Fastify answers with 404. */
export function notFound (): never {
  throw Object.assign(new Error('There is no such thing'), { statusCode: 404 })
}
