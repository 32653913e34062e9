// @tus/server as its README starts it: server.mjs PORT DIRECTORY [MAX-SIZE [EXPIRE-AFTER-SECONDS]]
import { FileStore } from '@tus/file-store'
import { Server } from '@tus/server'

const [port, directory, maxSize, expireAfter] = process.argv.slice(2)
const expirationPeriodInMilliseconds = expireAfter ? Number(expireAfter) * 1000 : undefined
const server = new Server({
  path: '/files',
  maxSize: maxSize ? Number(maxSize) : undefined,
  datastore: new FileStore({ directory, expirationPeriodInMilliseconds }),
})
server.listen({ host: '127.0.0.1', port: Number(port) })
