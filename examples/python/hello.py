"""A third-party service: GET /x/hello/greet/{name} through the gateway. README.md beside this says how to start it."""
import asyncio, json, os
from urllib.parse import parse_qs

import nats, nats.micro


async def greet(request):
    name = parse_qs(request.headers["Starlight-Params"])["name"][0]
    if name == "nobody":
        return await request.respond_error(code="404", description="nobody is not there")
    user = request.headers["Starlight-Principal"].split(";")[0]  # verified by the gateway
    await request.respond(json.dumps({"greeting": f"Hello, {name}", "from": user}).encode())


async def main():
    nc = await nats.connect(os.environ.get("STARLIGHT_NATS_URL", "nats://127.0.0.1:4222"),
                            user_credentials=os.environ["STARLIGHT_NATS_CREDS"], inbox_prefix=b"_INBOX_x_hello")
    service = await nats.micro.add_service(nc, name="hello", version="1.0.0", description="says hello")
    await service.add_endpoint(name="greet", subject="x.hello.greet", handler=greet,
                               metadata={"method": "GET", "path": "/greet/{name}", "access": "user"})
    print("hello serves", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
