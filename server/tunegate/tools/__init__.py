"""The MCP tools, one file a domain. Importing a domain's module declares its tools in `base.TOOLS`."""
