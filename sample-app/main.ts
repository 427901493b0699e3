import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.js';
import { DEMO } from './demo-user.js';
import { serveDocs } from './docs.js';

const app = await NestFactory.create(AppModule);
app.enableShutdownHooks();
serveDocs(app, 'docs');
await app.listen(process.env.PORT ?? 3000);

// curl treats brackets in a URL as a pattern.
const url = (await app.getUrl()).replace('[::1]', 'localhost');
const json = `-H 'Content-Type: application/json'`;
const bearer = `-H "Authorization: Bearer $TOKEN"`;
const login = `${url}/auth/login ${json} -d '${JSON.stringify(DEMO)}'`;

process.stdout.write(`
The page: ${url}
Swagger UI: ${url}/docs

To try it with curl, in another terminal:

# Log in
curl -si ${login}

# Log in from another device, and store the token
TOKEN=$(curl -s ${login} | node -pe 'JSON.parse(fs.readFileSync(0)).token')

# Refresh: a refresh token returns a new pair of tokens. A repeated request within 30 seconds returns the same pair
REFRESH=$(curl -s ${login} | node -pe 'JSON.parse(fs.readFileSync(0)).refreshToken')
curl -si -X POST ${url}/auth/refresh -H "Refresh-Token: $REFRESH"
curl -si -X POST ${url}/auth/refresh -H "Refresh-Token: $REFRESH"

# A guarded route, without a token and with it
curl -si ${url}/notes
curl -si ${url}/notes ${bearer}

# Create a note
curl -si ${url}/notes ${bearer} ${json} -d '{"text":"Buy milk"}'

# List the logged-in devices
curl -si ${url}/auth/devices ${bearer}

# Log out; after that, the same token is rejected
curl -si -X POST ${url}/auth/logout ${bearer}
curl -si ${url}/notes ${bearer}

# To see a token expire, start with TOKEN_LIFESPAN=10s npm start

`);
