/**
 * Renews the live parts of a page every 15 seconds. Without it the pages work the same, and are
 * renewed by a reload. A part that has the keyboard's focus is left alone, and numbers that were
 * opened stay open.
 */
export const script = `'use strict'
const every = 15000
async function renew (part) {
  if (document.hidden || part.contains(document.activeElement)) return
  const state = document.getElementById('live-state')
  try {
    const reply = await fetch(part.dataset.live, { credentials: 'same-origin', redirect: 'error' })
    if (!reply.ok) throw new Error(String(reply.status))
    const fresh = new DOMParser().parseFromString(await reply.text(), 'text/html')
    const open = [...part.querySelectorAll('details')].map(each => each.open)
    part.replaceChildren(...fresh.body.childNodes)
    part.querySelectorAll('details').forEach((each, at) => { each.open = open[at] === true })
    state.textContent = 'Live, renewed at ' + new Date().toISOString().slice(11, 19) + 'Z'
    state.className = 'live'
  } catch (error) {
    state.textContent = 'Not live: the last renewal failed (' + error.message + '). The plots are old.'
    state.className = 'live stopped'
  }
}
const part = document.querySelector('[data-live]')
if (part) {
  document.getElementById('live-state').textContent = 'Live, renewed every 15 seconds'
  setInterval(renew, every, part)
}
`
