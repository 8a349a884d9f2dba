// Writes .github/DECISIONS.md, the index of all decisions, from each package's DECISIONS.md. Run it
// after adding or removing one.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { packageFolders, root } from './sources.ts'

export const decisionsIndexPath: string = join(root, '.github/DECISIONS.md')

/** Decisions of a package, in the order of its page: headings, and bold beginnings of list items. */
export function decisionsOf (folder: string): string[] {
  const page = join(root, 'packages', folder, 'DECISIONS.md')
  if (!existsSync(page)) return []
  return Array.from(
    readFileSync(page, 'utf8').matchAll(/^## (.+)$|^(?:- )?\*\*(.+?)\*\*/gm),
    ([, heading, item = '']) => (heading ?? item).replace(/[.,:;]$/, '')
  )
}

export function decisionsIndex (): string {
  const sections = packageFolders().map(folder => ({ folder, decisions: decisionsOf(folder) }))
    .filter(({ decisions }) => decisions.length > 0)
  return `# Decisions

Why something is as it is. Each package's page has the reasons.

This index is written by \`node .ci/decisions-index.ts\`.

${
    sections.map(({ folder, decisions }) =>
      `## [${folder}](../packages/${folder}/DECISIONS.md)\n\n${
        decisions.map(decision => `- ${decision}`).join('\n')
      }`
    ).join('\n\n')
  }
`
}

if (import.meta.main) writeFileSync(decisionsIndexPath, decisionsIndex())
