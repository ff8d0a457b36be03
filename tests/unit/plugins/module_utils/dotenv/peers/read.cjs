// SPDX-License-Identifier: GPL-3.0-or-later
// Reads {texts, values} as JSON on standard input and says what dotenv and dotenvx make of each text, and what dotenvx makes of
// each value that it encrypted, in each of the quotes.
const { createRequire } = require('node:module')
const { readFileSync } = require('node:fs')

const peers = createRequire(process.argv[2] + '/')
const dotenv = peers('dotenv')
const dotenvx = peers('@dotenvx/dotenvx')
const { encrypt, keypair } = createRequire(peers.resolve('@dotenvx/dotenvx'))('@dotenvx/primitives')

dotenvx.setLogLevel({ logLevel: 'error' })
const { texts, values } = JSON.parse(readFileSync(0, 'utf8'))
const { publicKey, privateKey } = keypair()
const environment = () => ({ PATH: process.env.PATH })

const encrypted = values.flatMap(value => ['"', "'", '`', ''].map(quote => {
  const sealed = encrypt(publicKey, value)
  const src = `ABOVE="above"\nLITERAL='pa$ABOVE'\nA=${quote}${sealed}${quote}\n`
  return { src, value, quote, dotenvx: dotenvx.parse(src, { processEnv: environment(), privateKey }) }
}))
console.log(JSON.stringify({
  texts: texts.map(text => ({ dotenv: dotenv.parse(text), dotenvx: dotenvx.parse(text, { processEnv: environment() }) })),
  encrypted,
  privateKey
}))
