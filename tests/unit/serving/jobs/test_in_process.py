import asyncio

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from framework.serving.caller import Caller, caller_of
from framework.serving.jobs.in_process import inside


def test_a_job_is_asked_by_its_owner_with_its_limits(table, add):
    async def who(request):
        caller = caller_of(request)
        return JSONResponse([caller.name, caller.tokens_per_minute])

    async def ask(callers):
        app = Starlette(routes=[Route("/v1/x", who, methods=["POST"])])
        async with inside(app, callers.get)(table.get(add(), "owner")) as client:
            return await client.post("/v1/x", json={})

    answer = asyncio.run(ask({"owner": Caller("owner", tokens_per_minute=7)}))
    assert answer.json() == ["owner", 7]
    withdrawn = asyncio.run(ask({"another": Caller("another")}))
    assert (withdrawn.status_code, withdrawn.json()["error"]["code"]) == (401, "invalid_api_key")
