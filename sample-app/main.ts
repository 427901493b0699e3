import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.js';
import { DEMO } from './demo-user.js';
import { serveDocs } from './docs.js';

const app = await NestFactory.create(AppModule);
app.enableShutdownHooks();
serveDocs(app, 'docs');
await app.listen(process.env.PORT ?? 3000);

// curl takes brackets for a pattern.
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

# Log in from another device, and keep the token
TOKEN=$(curl -s ${login} | node -pe 'JSON.parse(fs.readFileSync(0)).token')

# A device that renews itself: its refresh token gets a new pair, and the same pair again for half a minute
REFRESH=$(curl -s ${login} | node -pe 'JSON.parse(fs.readFileSync(0)).refreshToken')
curl -si -X POST ${url}/auth/refresh -H "Refresh-Token: $REFRESH"
curl -si -X POST ${url}/auth/refresh -H "Refresh-Token: $REFRESH"

# A guarded call, without a token and with it
curl -si ${url}/notes
curl -si ${url}/notes ${bearer}

# A note
curl -si ${url}/notes ${bearer} ${json} -d '{"text":"Buy milk"}'

# The devices that are logged in
curl -si ${url}/auth/devices ${bearer}

# Log out; the same token is refused from then on
curl -si -X POST ${url}/auth/logout ${bearer}
curl -si ${url}/notes ${bearer}

# To see a token expire, start with TOKEN_LIFESPAN=10s npm start

`);
