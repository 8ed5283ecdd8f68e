// An OpenID provider for the end-to-end tests: oidc-provider with a handful of
// people, one public and one confidential client, one for the implicit flow, and
// two that are programs: "machine" and, with a person's help, "device". The two
// get access tokens that are JWTs, for https://wandb.test, or opaque ones, for
// https://wandb.test/opaque, which the client "gateway" may ask about. Every start
// forgets everybody, and makes a new signing key unless there is a file for it.
//
//   ISSUER              where to listen: http://127.0.0.1:PORT
//   REDIRECT_URIS       space-separated
//   POST_LOGOUT_URIS    space-separated
//   LOGOUT_URI          where clients are told that somebody has signed out here; none without it
//   PEOPLE_FILE         JSON: {"alice": {claims…}}; read again for every token
//   ACCESS_TOKEN_LIFE   like "10s"; an hour without it
//   REQUIRE_PUSHED      takes pushed authorization requests alone, if set
//   KEY_FILE            where the signing key is kept, in PEM, from start to start
//
// Each line on stdout is an event: "ready", "token GRANT_TYPE", "refused ERROR",
// "told CLIENT" and "not told CLIENT ERROR".
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { Provider, errors } from 'oidc-provider';

const env = process.env;
const redirects = env.REDIRECT_URIS.split(' ');
const landings = env.POST_LOGOUT_URIS.split(' ');
const audience = 'https://wandb.test';
const scope = 'openid profile email groups offline_access';

const people = async () => JSON.parse(await readFile(env.PEOPLE_FILE, 'utf8'));

const code = {
  redirect_uris: redirects,
  post_logout_redirect_uris: landings,
  response_types: ['code'],
  grant_types: ['authorization_code', 'refresh_token'],
  ...(env.LOGOUT_URI && { backchannel_logout_uri: env.LOGOUT_URI, backchannel_logout_session_required: true }),
};

function signingKey(file) {
  if (file && existsSync(file)) return createPrivateKey(readFileSync(file));
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  if (file) writeFileSync(file, privateKey.export({ format: 'pem', type: 'pkcs8' }), { mode: 0o600 });
  return privateKey;
}

const kid = env.KEY_FILE ? 'kept' : `key-${Date.now()}`;
const jwk = { ...signingKey(env.KEY_FILE).export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid };

const provider = new Provider(env.ISSUER, {
  jwks: { keys: [jwk] },
  cookies: { keys: ['only for tests'] },
  clients: [
    { ...code, client_id: 'public', token_endpoint_auth_method: 'none' },
    { ...code, client_id: 'confidential', client_secret: 'a secret of the end-to-end tests' },
    {
      client_id: 'implicit',
      // http on localhost is for native applications only.
      application_type: redirects[0].startsWith('http:') ? 'native' : 'web',
      token_endpoint_auth_method: 'none',
      redirect_uris: redirects,
      post_logout_redirect_uris: landings,
      response_types: ['id_token'],
      grant_types: ['implicit'],
    },
    {
      client_id: 'machine',
      client_secret: 'a secret of the end-to-end tests',
      redirect_uris: [],
      response_types: [],
      grant_types: ['client_credentials'],
    },
    {
      client_id: 'gateway',
      client_secret: 'a secret of the end-to-end tests',
      redirect_uris: [],
      response_types: [],
      grant_types: [],
    },
    {
      client_id: 'device',
      application_type: 'native',
      token_endpoint_auth_method: 'none',
      redirect_uris: [],
      response_types: [],
      grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'],
    },
  ],
  responseTypes: ['code', 'id_token'],
  pkce: { required: () => true },
  scopes: scope.split(' '),
  claims: {
    openid: ['sub'],
    profile: ['name', 'preferred_username'],
    email: ['email', 'email_verified'],
    groups: ['groups'],
  },
  conformIdTokenClaims: false,
  features: {
    devInteractions: { enabled: false },
    rpInitiatedLogout: { enabled: true },
    pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests: Boolean(env.REQUIRE_PUSHED) },
    backchannelLogout: { enabled: true },
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      async getResourceServerInfo(ctx, resource) {
        const accessTokenFormat = { [audience]: 'jwt', [`${audience}/opaque`]: 'opaque' }[resource];
        if (!accessTokenFormat) throw new errors.InvalidTarget();
        return { audience: resource, scope: '', accessTokenFormat, jwt: { sign: { alg: 'RS256' } } };
      },
    },
  },
  ttl: {
    AccessToken: parseInt(env.ACCESS_TOKEN_LIFE ?? '3600s'),
    AuthorizationCode: 60, ClientCredentials: 3600, Grant: 3600, IdToken: 3600, Interaction: 600, RefreshToken: 3600, Session: 3600,
  },
  rotateRefreshToken: true,
  // Its own dispatcher would not call anybody on this machine.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token'),
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  async findAccount(ctx, id) {
    const person = (await people())[id];
    return person && { accountId: id, claims: async () => ({ sub: id, ...person }) };
  },
  // Nobody is asked for consent.
  async loadExistingGrant(ctx) {
    const { client, session } = ctx.oidc;
    const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope(scope);
    await grant.save();
    return grant;
  },
});

provider.on('grant.success', (ctx) => console.log('token', ctx.oidc.params.grant_type));
provider.on('grant.error', (ctx, err) => console.log('refused', err.error, err.error_description));
provider.on('authorization.error', (ctx, err) => console.log('refused', err.error, err.error_description));
provider.on('backchannel.success', (ctx, client) => console.log('told', client.clientId));
provider.on('backchannel.error', (ctx, err, client) => console.log('not told', client.clientId, err.message));
provider.on('server_error', (ctx, err) => console.error(err));

const form = `<!doctype html><html lang="en"><title>Sign in</title>
<form method="post"><label>Name <input name="login" autofocus></label> <button>Sign in</button></form></html>`;

async function interact(request, response) {
  const { prompt } = await provider.interactionDetails(request, response); // throws unless it is this browser's
  if (prompt.name === 'consent') { // asked for with a native client every time
    await provider.interactionFinished(request, response, { consent: {} }, { mergeWithLastSubmission: true });
    return;
  }
  if (request.method !== 'POST') {
    response.setHeader('content-type', 'text/html');
    response.end(form);
    return;
  }
  let body = '';
  for await (const chunk of request) body += chunk;
  const accountId = new URLSearchParams(body).get('login');
  if (!(await people())[accountId]) {
    response.statusCode = 401;
    response.end('no such person');
    return;
  }
  await provider.interactionFinished(request, response, { login: { accountId } });
}

const handle = provider.callback();
createServer((request, response) => {
  if (!request.url.startsWith('/interaction/')) return handle(request, response);
  return interact(request, response).catch((err) => {
    response.statusCode = 400;
    response.end(String(err));
  });
}).listen(new URL(env.ISSUER).port, '127.0.0.1', () => console.log('ready'));
