llm keys set hermes-proxyd --value {{key}}
