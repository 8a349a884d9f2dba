import type { FastifyInstance } from 'fastify'

const escapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }

/** Returns HTML in which every inserted text is escaped, and every list of HTML is joined. */
function html (parts: TemplateStringsArray, ...values: readonly (string | readonly Html[])[]): Html {
  return new Html(String.raw(
    parts,
    ...values.map(value =>
      typeof value === 'string'
        ? value.replaceAll(/[&<>"]/g, character => escapes[character] ?? '')
        : value.map(({ text }) => text).join('')
    )
  ))
}

class Html {
  readonly text: string

  constructor (text: string) {
    this.text = text
  }
}

// The forms send JSON, which a page of another host cannot send here without CORS.
const sendForm = `
  for (const form of document.forms) form.onsubmit = async event => {
    event.preventDefault()
    const headers = { 'content-type': 'application/json' }
    const body = JSON.stringify(Object.fromEntries(new FormData(form)))
    const reply = await fetch(form.action, { method: 'POST', headers, body })
    if (reply.ok) location.href = '/'
    else form.querySelector('output').textContent = (await reply.json()).message
  }`

function page (title: string, content: Html): string {
  return `<!doctype html><meta charset="utf-8">${
    html`<title>${title}</title><h1>${title}</h1>${[content]}`.text
  }<script>${sendForm}</script>`
}

/** The page of a tenant: a log-in form, or the projects of the user's own tenant. */
export function pageRoutes (app: FastifyInstance): void {
  app.get(
    '/log-in',
    { config: { tenancy: { agreement: false } }, schema: { hide: true } },
    ({ tenant }, reply) =>
      reply.type('text/html').send(page(
        tenant.name,
        html`
      <form action="/log-in"><input name="email" type="email" placeholder="E-mail"> <input name="password"
        type="password" placeholder="Password"> <button>Log in</button> <output></output></form>`
      ))
  )

  app.get('/', {
    // A visitor without a session is sent to the form, before host and claim are compared.
    onRequest: (request, reply) => request.jwtVerify().catch(() => reply.redirect('/log-in')),
    schema: { hide: true }
  }, async ({ db, tenant }, reply) => {
    const projects = await db.selectFrom('projects').select('name').orderBy('created_at').execute()
    return reply.type('text/html').send(page(
      tenant.name,
      html`
      <ul>${projects.map(({ name }) => html`<li>${name}</li>`)}</ul>
      <form action="/projects"><input name="name" placeholder="Project"> <button>Add</button>
        <output></output></form>`
    ))
  })
}
