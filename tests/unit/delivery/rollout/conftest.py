import pytest
import yaml

PINNED = f"registry.example.com/server@sha256:{'5' * 64}"


@pytest.fixture(scope="session")
def rendered(render_with, measured):
    """Render for a production that is reached by a domain and measured; objects by kind and name."""

    def render(*, deployment=None, environment=None, **chosen):
        given = {
            "deployment": (
                "kubernetes",
                {"image": PINNED, "api_key_secret": {"name": "api-keys"}, **(deployment or {})},
            ),
            "environment": ("production", {"domain": "models.example.com", **(environment or {})}),
            "monitoring": measured,
            **chosen,
        }
        items = [yaml.safe_load(text) for name, text in render_with(**given).items() if name.endswith("yaml")]
        return {(item["kind"], item["metadata"]["name"]): item for item in items}

    return render
