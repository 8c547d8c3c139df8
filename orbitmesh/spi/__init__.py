"""What a plugin implements: transport, discovery, serializer, codec, middleware, handlers, commands of the CLI."""
