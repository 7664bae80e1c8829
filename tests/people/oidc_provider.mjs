// An OpenID provider for tests: oidc-provider, which is certified. People log in with their name alone. The
// arguments are the folder of the package, and the address to which it sends browsers back. It prints its
// issuer.
import { generateKeyPairSync } from "node:crypto"
import { createServer } from "node:http"
import { pathToFileURL } from "node:url"

const [folder, callback, page] = process.argv.slice(2)
const { default: Provider } = await import(pathToFileURL(`${folder}/lib/index.js`).href)

const server = createServer()
await new Promise((done) => server.listen(0, "127.0.0.1", done))
const issuer = `http://127.0.0.1:${server.address().port}`
const client = {
  redirect_uris: [callback],
  post_logout_redirect_uris: [page],
  grant_types: ["authorization_code"],
  response_types: ["code"],
}
const provider = new Provider(issuer, {
  clients: [
    { client_id: "clipwire", client_secret: "a secret: with/signs&more", ...client },
    { client_id: "public", token_endpoint_auth_method: "none", ...client },
    { client_id: "elliptic", client_secret: "another secret", id_token_signed_response_alg: "ES256", ...client },
  ],
  jwks: {
    keys: [
      generateKeyPairSync("rsa", { modulusLength: 2048 }),
      generateKeyPairSync("ec", { namedCurve: "P-256" }),
    ].map((pair, number) => ({ ...pair.privateKey.export({ format: "jwk" }), use: "sig", kid: `key${number}` })),
  },
  pkce: { required: () => true },
  claims: { openid: ["sub"], profile: ["preferred_username"], groups: ["groups"] },
  scopes: ["openid", "profile", "groups"],
  // Only the part of a name before "+" is shown; the whole name is the subject. So two people may show the
  // same name.
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({
      sub: id,
      preferred_username: id.split("+")[0],
      groups: id.startsWith("root") ? ["clipwire-admins", "others"] : ["others"],
    }),
  }),
  ttl: { Interaction: 3600, Session: 3600, Grant: 3600, AccessToken: 3600, IdToken: 3600 },
})
server.on("request", provider.callback())
console.log(issuer)
