import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { basename } from 'node:path'

import { run, type Manifest, type Package } from './pack.ts'

export interface LocalRegistry {
  /** For npm's `registry`. */
  readonly url: string
  close(): void
}

/**
 * Serves the packed packages as npm's registry does. Every other request is redirected to the
 * registry that npm is configured for. So commands run as a user types them after a release.
 */
export async function startRegistry (packages: readonly Package[]): Promise<LocalRegistry> {
  const upstream = (await run('npm', ['config', 'get', 'registry'])).trim()
  const manifests = new Map<string, { tarball: string; manifest: Manifest & { version: string } }>()
  for (const { name, tarball } of packages) {
    const text = await run('tar', ['-xzOf', tarball, 'package/package.json'])
    manifests.set(name, { tarball, manifest: JSON.parse(text) as Manifest & { version: string } })
  }
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? '').slice(1)
    const own = manifests.get(path)
    const file = packages.find(({ tarball }) => path === `tarballs/${basename(tarball)}`)
    if (own !== undefined) json(response, packument(own, `http://${request.headers.host}/tarballs`))
    else if (file !== undefined) response.end(readFileSync(file.tarball))
    else response.writeHead(302, { location: new URL(request.url?.slice(1) ?? '', upstream).href }).end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    close () {
      server.closeAllConnections()
      server.close()
    }
  }
}

function packument (
  { tarball, manifest }: { readonly tarball: string; readonly manifest: Manifest & { version: string } },
  folder: string
): object {
  const integrity = `sha512-${createHash('sha512').update(readFileSync(tarball)).digest('base64')}`
  const { name, version } = manifest
  return {
    name,
    'dist-tags': { latest: version },
    versions: { [version]: { ...manifest, dist: { tarball: `${folder}/${basename(tarball)}`, integrity } } }
  }
}

function json (response: ServerResponse, body: object): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
