'use strict'
// keep-code.cjs BUNDLE CACHE: writes what V8 has compiled of a bundle by the time that its `--help` is printed.
const { writeFileSync } = require('node:fs')
const { compile, start } = require('./start.cjs')

const [node, , file, cache] = process.argv
process.argv = [node, file, '--help']
const script = compile(file)
process.on('exit', () => writeFileSync(cache, script.createCachedData()))
start(script, file)
