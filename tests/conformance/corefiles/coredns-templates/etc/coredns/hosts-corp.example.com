10.1.1.20 wiki.corp.example.com
